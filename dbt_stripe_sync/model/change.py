"""What one row needs: the calls to Stripe, their parameters, and what differs."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from dbt_stripe_sync.model.lifecycle import CREATING, IN_BULK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


Params: TypeAlias = "Mapping[str, Any]"
"""Stripe parameters as nested JSON: str, int, bool, list, dict; `Ref` where an id is not known before the run;
`Fingerprint` in what was read from a record whose values are not stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """Stands in `Params` for the id of an object that this plan makes: the one of `sync`'s row `key`."""

    sync: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Stands in a record's `Params` for a value that the state does not store: its salted hash, `digest`.

    `salt` is the id of the salt. `matches` says whether a value is the one that was hashed; it is None where the salt
    itself is not at hand.
    """

    salt: str
    digest: str
    matches: Callable[[Any], bool] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotStored:
    """Stands in a stored outcome for a value that the state does not store. `kind` is what it was: `text`, `number`."""

    kind: str


class Action(Enum):
    """What a change does to the object of one row."""

    CREATE = "create"
    UPDATE = "update"
    ADOPT = "adopt"
    REPLACE = "replace"
    DELETE = "delete"
    ARCHIVE = "archive"
    CANCEL = "cancel"
    VOID = "void"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """One call of a change.

    `target` is None where the call creates, or acts on what the change's first call made; it is a `Ref` where another
    change of the plan makes the object.
    """

    operation: str
    target: str | Ref | None
    params: Params

    @property
    def creates(self) -> bool:
        """Whether the call makes an object."""
        return self.operation in CREATING

    @property
    def in_bulk(self) -> bool:
        """Whether the call shares its request with others."""
        return self.operation in IN_BULK


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One parameter that differs, by its dotted path. `before` and `after` are None where it is not set."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """All that one row needs. Its `calls` are sent in order; what `plan` shows is what `apply` sends.

    `desired` is every parameter that will be ours once it is done, for the record. `depends_on` holds the ids of the
    changes whose objects this one refers to. `found_by` says how an adopted object was found. `removed` says that the
    row left the model; its record stays, so that the object can come back, unless it is `gone`.
    """

    id: str
    action: Action
    sync: str
    key: str
    resource: str
    stripe_id: str | None
    calls: tuple[PlannedCall, ...]
    desired: Params
    changed: tuple[FieldChange, ...]
    depends_on: tuple[str, ...]
    source_hash: int | None
    refs: str | None
    reason: str | None = None
    found_by: str | None = None
    removed: bool = False
    gone: bool = False
