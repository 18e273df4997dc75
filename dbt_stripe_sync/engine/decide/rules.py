"""What a decision is made from, and what it can be: values alone, so that the same data gives the same answer."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dbt_stripe_sync.engine.payload.builder import Payload, PayloadBuilder
    from dbt_stripe_sync.engine.payload.layout import Layout
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.difference import RowDiff
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.lifecycle import HeldBy, Lifecycle
    from dbt_stripe_sync.model.params import Resource
    from dbt_stripe_sync.model.plan import Note
    from dbt_stripe_sync.model.record import Record
    from dbt_stripe_sync.model.sync import Sync


class Rules(Struct, frozen=True, kw_only=True):
    """All that decisions about one sync's rows depend on.

    `tag_for` says for which keys our own tag is looked for among existing objects: all of them on a sync's first run
    (None), later those whose record was taken away. `forgotten` has the objects that these had, where they are known.
    """

    sync: Sync
    resource: Resource
    layout: Layout
    builder: PayloadBuilder
    now: datetime
    tag_for: frozenset[str] | None = frozenset()
    forgotten: Mapping[str, str] = field(default_factory=dict)

    @property
    def lifecycle(self) -> Lifecycle:
        """How the objects of the sync's resource live."""
        return self.resource.lifecycle

    @property
    def mapped(self) -> frozenset[tuple[str, ...]]:
        """The paths of the parameters that the sync maps."""
        return self.builder.mapped


# ── what was observed ────────────────────────────────────────────────────────────────────────────────────────────


class Unseen(Enum):
    """Why there is no object to look at: Stripe has none with that id, or could not be asked."""

    MISSING = "missing"
    NOT_ANSWERED = "not answered"


class Found(Struct, frozen=True, kw_only=True):
    """Objects of a row without a record, newest first, by the first of its values that any object has.

    `owners` has the sync and key of those that belong to a row already. `failed` says that Stripe could not be asked,
    `is_near` that no object has a value itself, and that was looked for what differs from it in case or blanks alone.
    """

    by: str = ""
    objects: tuple[Mapping[str, Any], ...] = ()
    owners: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    failed: bool = False
    is_near: bool = False


class Holding(Struct, frozen=True, kw_only=True):
    """An object that holds another: its `parameter` names it.

    `moves` says that it can name another object, `ours` that a sync wrote it, `follows` that its row refers to the held
    object, so that its own change releases it. `leaving` says that its row already left the model.
    """

    resource: str
    stripe_id: str
    parameter: str
    moves: bool
    ours: bool
    follows: bool
    leaving: bool = False


class Observed(Struct, frozen=True, kw_only=True):
    """What was read for one row so far; None if not read yet.

    `body` is the row's object with `expanded` shown; `items` has the items of lists of which the object only shows a
    page; `holdings` the objects that hold it; `owners` says which row has a unique value; `ours` are those of some
    objects that a row has, or had; `whole_is_left` says that no row has the object any longer of which this one is a
    part.
    """

    found: Found | None = None
    body: Mapping[str, Any] | Unseen | None = None
    expanded: frozenset[str] = frozenset()
    items: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    holdings: Sequence[Holding] | Unseen | None = None
    owners: Mapping[str, tuple[str, str] | None] | None = None
    ours: frozenset[str] | None = None
    whole_is_left: bool | None = None


NOTHING_SEEN = Observed()


# ── what has to be seen first ────────────────────────────────────────────────────────────────────────────────────


class FindObjects(Struct, frozen=True, kw_only=True):
    """Existing objects by pairs of field and value, the first that hits counts; `is_near`: compared loosely."""

    pairs: tuple[tuple[str, str], ...]
    is_near: bool = False


class ReadObject(Struct, frozen=True, kw_only=True):
    """An object as it is now. `path` holds the parameters of its URL, `expand` what it shows only where asked."""

    stripe_id: str
    path: Mapping[str, Any]
    expand: tuple[str, ...] = ()


class ReadItems(Struct, frozen=True, kw_only=True):
    """All items of a list of an object: every `resource` whose `parent` it is, or what its own `operation` lists."""

    name: str
    resource: str
    stripe_id: str
    parent: str | None = None
    operation: str | None = None


class ReadHoldings(Struct, frozen=True, kw_only=True):
    """What holds an object, by some rules of its lifecycle. `body` is the object, where a rule needs it."""

    stripe_id: str
    rules: tuple[HeldBy, ...]
    body: Mapping[str, Any] = field(default_factory=dict)


class ReadOwners(Struct, frozen=True, kw_only=True):
    """The rows that have values that must be unique among objects, by parameter."""

    values: Mapping[str, str]


class ReadOurs(Struct, frozen=True, kw_only=True):
    """Which of some objects belong to a row, or did before they were replaced."""

    ids: tuple[str, ...]


class ReadWhole(Struct, frozen=True, kw_only=True):
    """Whether a row still has the object that this one is a part of, or another has taken its place."""

    stripe_id: str


Need: TypeAlias = "FindObjects | ReadObject | ReadItems | ReadHoldings | ReadOwners | ReadOurs | ReadWhole"


# ── what is decided ──────────────────────────────────────────────────────────────────────────────────────────────


class Ask(Struct, frozen=True, kw_only=True):
    """Nothing can be said before this is seen."""

    need: Need


class Refresh(Struct, frozen=True, kw_only=True):
    """The object is as it should be; its record is not, and is replaced without a call.

    `note` says what a person should know of it.
    """

    record: Record
    note: Note | None = None


class Reject(Struct, frozen=True, kw_only=True):
    """The row can't be sent, for these reasons."""

    problems: tuple[Problem, ...]


class Keep(Struct, frozen=True, kw_only=True):
    """The object stays as it is, and so does its record. `note` says why, where a person should know."""

    note: Note | None = None


Decision: TypeAlias = "Change | Refresh | Reject | Keep | Ask"


class Row(Struct, frozen=True, kw_only=True):
    """A row that differs, with the parameters that it asks for; None where it left the model."""

    diff: RowDiff
    payload: Payload | None
