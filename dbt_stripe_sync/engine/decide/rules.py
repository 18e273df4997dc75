"""The inputs and results of decisions. They are plain values, so the same data gives the same decision."""

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
    """Everything that decisions about one sync's rows depend on.

    `tag_for` has the keys whose tag is searched for among existing objects: all of them on a sync's first run (None),
    later those whose record was dropped. `forgotten` has the objects of these rows, if they are known.
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
        """The lifecycle of the sync's resource."""
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
    """The objects for a row without a record, newest first, by the first of its values that any object has.

    `owners` has the sync and key of objects that already belong to a row. `failed` says that Stripe could not be asked.
    `is_near` says that no object has the value exactly, so these differ from it in case or blanks.
    """

    by: str = ""
    objects: tuple[Mapping[str, Any], ...] = ()
    owners: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    failed: bool = False
    is_near: bool = False


class Holding(Struct, frozen=True, kw_only=True):
    """An object that refers to another one in its `parameter`.

    `moves` says that it can refer to another object instead, and `ours` that a sync wrote it. `follows` says that its
    row refers to the held object, so that its own change releases it. `leaving` says that its row already left the
    model.
    """

    resource: str
    stripe_id: str
    parameter: str
    moves: bool
    ours: bool
    follows: bool
    leaving: bool = False


class Observed(Struct, frozen=True, kw_only=True):
    """What was read for one row so far; None for what was not read yet.

    - `body` is the row's object with `expanded` included.
    - `items` has the items of lists of which the object only includes a page.
    - `holdings` are the objects that hold it, and `owners` the rows that have its unique values.
    - `ours` are those of some objects that a row has, or had.
    - `whole_is_left` says that no row has the object any longer of which this one is a part.
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
    """Asks for existing objects by pairs of field and value.

    The first pair with a hit counts; `is_near` compares loosely. `params` are the row's, which name the object under
    which Stripe lists those of a nested resource.
    """

    pairs: tuple[tuple[str, str], ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    is_near: bool = False


class ReadObject(Struct, frozen=True, kw_only=True):
    """Asks for an object's current state.

    `path` has the parameters of its URL, `expand` what it only returns on request.
    """

    stripe_id: str
    path: Mapping[str, Any]
    expand: tuple[str, ...] = ()


class ReadItems(Struct, frozen=True, kw_only=True):
    """Asks for all items of a list: every `resource` whose `parent` it is, or what its own `operation` lists."""

    name: str
    resource: str
    stripe_id: str
    parent: str | None = None
    operation: str | None = None


class ReadHoldings(Struct, frozen=True, kw_only=True):
    """Asks for what holds an object, by some rules of its lifecycle. `body` is the object, if a rule needs it."""

    stripe_id: str
    rules: tuple[HeldBy, ...]
    body: Mapping[str, Any] = field(default_factory=dict)


class ReadOwners(Struct, frozen=True, kw_only=True):
    """Asks which rows have values that must be unique among objects, by parameter."""

    values: Mapping[str, str]


class ReadOurs(Struct, frozen=True, kw_only=True):
    """Asks which of some objects belong to a row, or did before they were replaced."""

    ids: tuple[str, ...]


class ReadWhole(Struct, frozen=True, kw_only=True):
    """Asks whether a row still has the object that this one is a part of, or whether that was replaced."""

    stripe_id: str


Need: TypeAlias = "FindObjects | ReadObject | ReadItems | ReadHoldings | ReadOwners | ReadOurs | ReadWhole"


# ── what is decided ──────────────────────────────────────────────────────────────────────────────────────────────


class Ask(Struct, frozen=True, kw_only=True):
    """The decision needs more data: the questions to answer first."""

    need: Need


class Refresh(Struct, frozen=True, kw_only=True):
    """The object is as it should be, but its record isn't; the record is replaced without a call.

    `note` is for the user.
    """

    record: Record
    note: Note | None = None


class Reject(Struct, frozen=True, kw_only=True):
    """The row can't be sent, for these reasons."""

    problems: tuple[Problem, ...]


class Keep(Struct, frozen=True, kw_only=True):
    """The object and its record stay unchanged. `note` tells the user why, if that isn't obvious.

    `is_unwritten` says that the object differs from its row, and that the sync's mode keeps it that way.
    """

    note: Note | None = None
    is_unwritten: bool = False


Decision: TypeAlias = "Change | Refresh | Reject | Keep | Ask"


class Row(Struct, frozen=True, kw_only=True):
    """A row that differs, with the parameters that it asks for; None if it left the model."""

    diff: RowDiff
    payload: Payload | None
