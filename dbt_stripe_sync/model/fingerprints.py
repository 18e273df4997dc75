"""Replaces values that the state doesn't store with salted hashes, so that changes are still detected.

The rule for a sync with `store_values: false`: names, list lengths and nulls are kept, as are ids of Stripe objects,
parameters in the URL, and whatever else a record has besides parameters. Every other leaf is hashed. Hashes are made
when the state is written, and `compare.same` compares them; nothing in between handles them.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b, sha256
from hmac import compare_digest
from secrets import token_bytes
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
from msgspec.structs import replace

from dbt_stripe_sync.model.calls import is_object_id
from dbt_stripe_sync.model.change import FieldChange, Fingerprint, NotStored, Ref
from dbt_stripe_sync.model.codec import canonical
from dbt_stripe_sync.model.nested import leaves, map_leaves
from dbt_stripe_sync.model.record import MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.record import Record
    from dbt_stripe_sync.model.run import Outcome

SALT_BYTES = 32
# 128 bits: two values of one row have the same hash once in 10^38.
DIGEST_BYTES = 16
_SALT_ID_BYTES = 4
# The prefix of hashes among the texts of a record with a salt. No Stripe id and no part of a URL starts with it.
_HASHED = "#"
_SEPARATOR = b"\x1f"


def _no_path(resource: str) -> frozenset[str]:  # noqa: ARG001 - a resource without parameters in its URL
    return frozenset()


def _no_text(text: str, params: Any) -> str:  # noqa: ARG001 - whatever was said
    return "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The syncs whose values the state stores.

    `by_sync` has single syncs; `default` applies to all others, even removed ones. `in_path` returns a resource's
    parameters in the URL. `redact` removes the values of some parameters from a message of Stripe's. `salt` is the
    user's; without it, the state has its own.
    """

    default: bool = True
    by_sync: Mapping[str, bool] = field(default_factory=dict)
    in_path: Callable[[str], frozenset[str]] = _no_path
    redact: Callable[[str, Any], str] = _no_text
    salt: bytes | None = field(default=None, repr=False)

    def keeps(self, sync: str) -> bool:
        """Whether the values of a sync are stored."""
        return self.by_sync.get(sync, self.default)

    @property
    def keeps_all(self) -> bool:
        """Whether the values of every sync are stored."""
        return self.default and all(self.by_sync.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Salt:
    """A secret for hashes. `id` identifies it without revealing it."""

    id: str
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> Salt:
        """Return the salt with this secret of `SALT_BYTES`."""
        return cls(id=blake2b(b"id", key=secret, digest_size=_SALT_ID_BYTES).hexdigest(), secret=secret)

    def digest(self, key: str, value: Any) -> str:
        """Return the hash of a value in the row `key`. The same value in another row has a different hash."""
        text = key.encode(errors="surrogatepass") + _SEPARATOR + canonical(value).encode()
        made = blake2b(text, key=self.secret, digest_size=DIGEST_BYTES).digest()
        return urlsafe_b64encode(made).rstrip(b"=").decode()

    def is_hash_of(self, digest: str, key: str, value: Any) -> bool:
        """Return whether a value has this hash."""
        is_leaf = not isinstance(value, dict | list | tuple | Fingerprint) and value is not None
        return is_leaf and compare_digest(self.digest(key, value), digest)


class Fingerprints(msgspec.Struct, frozen=True, kw_only=True):
    """Hashes the values that must not be stored, and reads them back as fingerprints.

    `current` is None if all values are stored. `known` has every salt whose hashes can be compared, by its id: the
    state's own salt stays known for some time after the user has set another one.
    """

    retention: Retention = msgspec.field(default_factory=Retention)
    current: Salt | None = None
    known: Mapping[str, Salt] = msgspec.field(default_factory=dict)

    def source_salt(self, sync: str) -> str | None:
        """Return what salts the hashes of a sync's whole rows, or None if their values are stored."""
        return self.current.secret.hex() if self.current is not None and not self.retention.keeps(sync) else None

    def can_read(self, salt: str | None) -> bool:
        """Return whether values can be compared with a record that has this salt."""
        return salt is None or salt in self.known

    def parse(self, params: str, salt: str | None, key: str) -> dict[str, Any]:
        """Return a record's parameters from their JSON, with a `Fingerprint` for each value that isn't stored."""
        raw: dict[str, Any] = orjson.loads(params)
        return raw if salt is None else _parse(raw, salt, key, self.known.get(salt))

    def seal(self, record: Record) -> tuple[Record, str | None]:
        """Return a record as it is stored, and the id of the salt of its hashes, or None.

        Existing fingerprints are kept, and the rest of the record is then hashed with the same salt.
        """
        salts = dict.fromkeys(found.salt for found in _fingerprints(record.params))
        if not salts and self.retention.keeps(record.sync):
            return record, None
        unknown = next((salt for salt in salts if salt not in self.known), None)
        salt = (self.known[next(iter(salts))] if salts and not unknown else self.current) or Salt.of(
            token_bytes(SALT_BYTES)
        )
        in_path = self.retention.in_path(record.resource)
        params = {
            name: value if name.startswith(MARK) else _seal(value, salt, record.key, in_path=name in in_path)
            for name, value in record.params.items()
        }
        # Nothing can be compared with a record of two salts, so it counts as one with the unknown salt.
        return replace(record, params=params), unknown or salt.id

    def conceal(self, outcome: Outcome) -> Outcome:
        """Return an outcome as it is stored: the shape of what was sent, and Stripe's message without values."""
        change, failure = outcome.change, outcome.failure
        if failure is not None and failure.message is not None and not failure.is_ours:
            sent = [change.desired, *(call.params for call in change.calls)]
            failure = replace(failure, message=self.retention.redact(failure.message, sent))
        return replace(outcome, change=_conceal_change(change), failure=failure)


def stored_hash(params: str) -> str:
    """Return the digest of a record's parameters as they are stored."""
    return sha256(params.encode()).hexdigest()


def _seal(value: Any, salt: Salt, key: str, *, in_path: bool = False) -> Any:
    def seal(leaf: Any) -> Any:
        if isinstance(leaf, Fingerprint):
            return _HASHED + leaf.digest
        if leaf is None or (isinstance(leaf, str) and not leaf.startswith(_HASHED) and is_object_id(leaf)):
            return leaf
        return _HASHED + salt.digest(key, leaf)

    is_readable = in_path and isinstance(value, str) and not value.startswith(_HASHED)
    return value if is_readable else map_leaves(value, seal)


def _parse(value: Any, salt_id: str, key: str, salt: Salt | None) -> Any:
    def parse(leaf: Any) -> Any:
        if not isinstance(leaf, str) or not leaf.startswith(_HASHED):
            return leaf
        digest = leaf.removeprefix(_HASHED)
        matches = partial(salt.is_hash_of, digest, key) if salt is not None else None
        return Fingerprint(salt=salt_id, digest=digest, matches=matches)

    return map_leaves(value, parse)


def _fingerprints(value: Any) -> Iterator[Fingerprint]:
    return (leaf for leaf in leaves(value) if isinstance(leaf, Fingerprint))


def _conceal_change(change: Change) -> Change:
    return replace(
        change,
        calls=tuple(replace(call, params=_conceal(call.params)) for call in change.calls),
        desired=_conceal(change.desired),
        changed=tuple(
            FieldChange(path=part.path, before=_conceal(part.before), after=_conceal(part.after))
            for part in change.changed
        ),
        source_hash=None,
        before={},
    )


def _conceal(value: Any) -> Any:
    return map_leaves(value, _concealed)


def _concealed(value: Any) -> Any:
    if value is None or value == "" or isinstance(value, Ref | NotStored):
        return value
    if isinstance(value, bool):
        return NotStored(kind="true or false")
    if isinstance(value, str):
        return value if is_object_id(value) else NotStored(kind="text")
    return NotStored(kind="text" if isinstance(value, Fingerprint) else "number")
