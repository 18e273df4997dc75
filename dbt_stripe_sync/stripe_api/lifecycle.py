"""What types can't say of a resource: how an object is found, replaced and removed. One row of data a resource."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Mode(Enum):
    """Which rows a sync may write: all, only those without an object, or only those with one."""

    UPSERT = "upsert"
    INSERT = "insert"
    UPDATE = "update"


class Removal(Enum):
    """What happens to the object of a row that left the model."""

    IGNORE = "ignore"
    DELETE = "delete"
    ARCHIVE = "archive"
    CANCEL = "cancel"
    CANCEL_AT_PERIOD_END = "cancel_at_period_end"
    VOID = "void"
    DEACTIVATE = "deactivate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call on an existing object: a method of its SDK service, with its parameters.

    `gone` says that the object can't be used again afterwards: if its row comes back, a new object is made.
    `revive` holds the parameters of the update that undoes the step, where one exists.
    """

    operation: str
    params: Mapping[str, Any] = field(default_factory=dict)
    gone: bool = True
    revive: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ByStatus:
    """A removal that depends on the object's `status` in Stripe, read when the plan is made.

    A status that `steps` lacks leaves the object alone, with the reason of `otherwise`.
    """

    steps: Mapping[str, Step]
    otherwise: str
    status_field: str = "status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """A new object takes over: created with `carry_over` added to its parameters, then the old one gets `then`."""

    carry_over: Mapping[str, Any] = field(default_factory=dict)
    then: Removal = Removal.ARCHIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """The row is rejected, with the reason: nothing can take the object's place."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle:
    """How objects of one resource live.

    `found_by` lists what `match` may name: `id`, `metadata`, or a parameter that the list operation filters by or that
    the object shows. `own_id` says that `id` may be given at creation. `tagged` says that the object has metadata for
    our tag. `permanent` warns of a removal that can't be undone.
    """

    found_by: tuple[str, ...] = ()
    modes: frozenset[Mode] = frozenset(Mode)
    on_removed: Mapping[Removal, Step | ByStatus] = field(default_factory=dict)
    when_immutable_changes: Replace | Reject = Reject(reason="Stripe has no way to change it")
    own_id: bool = False
    tagged: bool = True
    permanent: frozenset[Removal] = frozenset()
    refused: str | None = None
