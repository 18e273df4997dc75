"""The change that a row needs: its calls to Stripe, their parameters, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003 - the codec reads the annotations of what it decodes
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import msgspec

from dbt_stripe_sync.model.calls import StripeFailure  # noqa: TC001 - the same
from dbt_stripe_sync.model.lifecycle import CREATING, IN_BULK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


Params: TypeAlias = "Mapping[str, Any]"
"""Stripe parameters as nested JSON: str, int, bool, list, dict.

`Ref` stands for an id that isn't known before the run. `Fingerprint` stands for a value in a record that doesn't store
its values.
"""


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """A placeholder in `Params` for the id of an object that this plan creates: that of `sync`'s row `key`."""

    sync: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A placeholder in a record's `Params` for a value that the state doesn't store: its salted hash, `digest`.

    `salt` is the id of the salt. `matches` returns whether a value has this hash; it is None if the salt is
    unavailable.
    """

    salt: str
    digest: str
    matches: Callable[[Any], bool] | None = field(default=None, compare=False, repr=False)


class NotStored(msgspec.Struct, frozen=True, kw_only=True):
    """A placeholder in a stored outcome for a value that the state doesn't store.

    `kind` is its type: `text`, `number`.
    """

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


# What ends or removes the object of a row that left its model.
REMOVALS = frozenset({Action.DELETE, Action.ARCHIVE, Action.CANCEL, Action.VOID})


class PlannedCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a change.

    `target` is None if the call creates an object, or acts on the one that the change's first call created; it is a
    `Ref` if another change of the plan creates it. If `resource` is None, it is the change's.
    """

    operation: str
    target: str | Ref | None
    params: Params
    resource: str | None = None

    @property
    def creates(self) -> bool:
        """Whether the call creates an object."""
        return self.operation in CREATING

    @property
    def in_bulk(self) -> bool:
        """Whether the call shares its request with others."""
        return self.operation in IN_BULK


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter that differs, by its dotted path. `before` and `after` are None if it isn't set."""

    path: str
    before: Any
    after: Any


class NewFields(Sequence[FieldChange]):
    """Every parameter of a new object as a field that changes, lists as a whole.

    Computed on demand: a first sync has millions of them, and shows a few.
    """

    __slots__ = ("params",)

    def __init__(self, params: Params) -> None:
        self.params = params

    def __iter__(self) -> Iterator[FieldChange]:
        for path, value in _leaves(self.params):
            yield FieldChange(path=path, before=None, after=value)

    def __len__(self) -> int:
        return sum(1 for _ in _leaves(self.params))

    @overload
    def __getitem__(self, index: int) -> FieldChange: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[FieldChange]: ...
    def __getitem__(self, index: int | slice) -> FieldChange | Sequence[FieldChange]:
        return tuple(self)[index]

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]


def _leaves(params: Params, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """A step on an object other than the row's own, owed as soon as the row's new object exists.

    It is stored with that object's record until it is done or a person settles it. `since` is the time from which it is
    owed, and `attempts` how often Stripe rejected it. `failure` and `request_id` are from Stripe's last answer.
    """

    id: str
    sync: str
    key: str
    resource: str
    action: Action
    operation: str
    target: str
    params: Params
    reason: str
    since: datetime | None = None
    attempts: int = 0
    failure: StripeFailure | None = None
    request_id: str | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one row needs.

    Its `calls` are sent in order; `plan` shows what `apply` sends. `desired` has every parameter that the sync has set
    once it is done, for the record. `depends_on` holds the ids of the changes whose objects this one refers to.
    `found_by` says how an adopted object was found. `removed` says that the row left the model; its record stays, so
    that the object can come back, unless it is `gone`. `owes` are the steps on other objects that are owed once this
    change has created its own; `settles` names the owed step of each call. `ends_first` says that the old object must
    end before the new one can be created. The planner splits such a change in two, so no plan file has it. `before` is
    what the record keeps if Stripe rejects a later call: of the old object in that case, or of a restored object.
    `rebuilt` says that `desired` is what Stripe showed when the state was rebuilt, and not what the sync has set.
    """

    id: str
    action: Action
    sync: str
    key: str
    resource: str
    stripe_id: str | None
    calls: tuple[PlannedCall, ...]
    desired: Params
    changed: Sequence[FieldChange]
    depends_on: tuple[str, ...]
    source_hash: int | None
    refs: str | None
    reason: str | None = None
    found_by: str | None = None
    removed: bool = False
    gone: bool = False
    owes: tuple[Owed, ...] = ()
    settles: tuple[str, ...] = ()
    ends_first: bool = False
    before: Params = msgspec.field(default_factory=dict)
    rebuilt: bool = False


# The suffix of the id of a change that ends a row's object before another change creates the new one.
ENDS_FIRST = "!end"
# The suffixes of the ids of changes that do owed steps: those of a change in the same plan, and those of earlier runs.
OWED_NOW = "!owed"
OWED_EARLIER = "!earlier"


def change_id(sync: str, key: str) -> str:
    """Return the id of a row's change. A plan has at most one per row."""
    return f"{sync}/{key}"


def is_row(change: Change) -> bool:
    """Return whether a change is a row's own, and not a further step, such as archiving the object that it replaced."""
    return change.id.removesuffix(ENDS_FIRST) == change_id(change.sync, change.key)


def kind_of(change: Change) -> str:
    """Return what a change does, whatever its row: its action, and for an update the parameters that it changes.

    The parameters of a new object follow from its row, and those of a removal from Stripe's rules, so they aren't
    included.
    """
    if change.action is Action.CREATE or change.action in REMOVALS:
        return change.action.value
    names = sorted({part.path.partition("[")[0].partition(".")[0] for part in change.changed})
    return f"{change.action.value} {', '.join(names)}".rstrip()


def other_kind(change: Change) -> str:
    """Return the kind under which a change is counted once there are too many kinds to list."""
    return f"{change.action.value} …"


def nested(path: str, value: Any) -> dict[str, Any]:
    """Return the parameters that set the value at a dotted path."""
    for name in reversed(path.split(".")):
        value = {name: value}
    made: dict[str, Any] = value
    return made


def row_of(change: str) -> tuple[str, str]:
    """Return the sync and the key of a change, given its id."""
    sync, _, key = change.partition("/")
    return sync, key
