"""How parameters change an object: values replace, `''` clears, metadata is merged key by key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.metadata import METADATA_KEYS
from dbt_stripe_sync.model.nested import map_leaves
from dbt_stripe_sync.sandbox.errors import bad_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dbt_stripe_sync.sandbox.store import Body


def apply_params(body: Body, params: Mapping[str, Any], *, leave: Iterable[str] = ()) -> None:
    """Set the parameters on an object, except those in `leave`. Hashes are replaced as a whole; metadata is merged."""
    skipped = frozenset(leave)
    for name, value in params.items():
        if name == "expand" or name in skipped:
            continue
        if name == "metadata":
            body["metadata"] = merge_metadata(body.get("metadata") or {}, value)
        else:
            body[name] = plain(value)


def plain(value: Any) -> Any:
    """Return a parameter as an object shows it: `''` becomes null, at any depth."""
    return map_leaves(value, lambda leaf: None if leaf == "" else leaf)


def merge_metadata(before: Mapping[str, str], given: Any, *, param: str = "metadata") -> dict[str, str]:
    """Return the metadata after a request: `''` clears it, and an empty value removes its key.

    The limits of a single request are checked before. Raises `ApiError` if the result has too many keys: that limit
    applies to the object (docs.stripe.com/api/metadata).
    """
    if given == "" or given is None:
        return {}
    after = dict(before)
    for name, value in given.items():
        if value == "":
            after.pop(name, None)
        else:
            after[name] = value
    if len(after) > METADATA_KEYS:
        raise bad_request(
            f"You can only specify up to {METADATA_KEYS} metadata keys, but you specified {len(after)}.", param=param
        )
    return after
