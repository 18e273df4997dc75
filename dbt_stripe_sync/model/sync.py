"""A sync as the user mapped it: the rows of one model to the objects of one Stripe resource."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct

from dbt_stripe_sync.model.errors import Location

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import timedelta

    from dbt_stripe_sync.model.lifecycle import Mode, Removal
    from dbt_stripe_sync.model.nodes import ModelNode


# The separator between a sync's name and the parameter that a separate step of it sets. No sync's name contains it.
PART_SEPARATOR = ":"


class Nulls(Enum):
    """What a null does to a field that the sync has set.

    `CLEAR` clears it in Stripe, `IGNORE` leaves it. `DEFAULT` clears it if Stripe can, and otherwise rejects the row.
    """

    DEFAULT = "default"
    CLEAR = "clear"
    IGNORE = "ignore"


class DiffPlace(Enum):
    """Where rows are compared with what was last accepted: on this machine, or by the warehouse."""

    LOCAL = "local"
    WAREHOUSE = "warehouse"


class Conversion(Enum):
    """How a column's value is converted, if the parameter's type doesn't determine it."""

    MINOR_UNITS = "minor_units"
    UNIX_SECONDS = "unix_seconds"
    JSON = "json"
    TEXT = "text"


class Column(Struct, frozen=True, kw_only=True):
    """A column's value. `currency` (a code) or `currency_column` goes with `MINOR_UNITS`."""

    name: str
    convert: Conversion | None = None
    currency: str | None = None
    currency_column: str | None = None


class Template(Struct, frozen=True, kw_only=True):
    """A Jinja2 text with `[[ ]]` or `{{ }}` over `columns`."""

    source: str
    columns: tuple[str, ...]


class Constant(Struct, frozen=True, kw_only=True):
    """The same value for every row."""

    value: Any


class WhenReplaced(Enum):
    """What a row does if a new object has replaced the one that it refers to.

    `FOLLOW` refers to the new one. `KEEP` keeps the old one until the row names another key: a subscription keeps the
    price at which it was sold.
    """

    FOLLOW = "follow"
    KEEP = "keep"


class SyncRef(Struct, frozen=True, kw_only=True):
    """The id of the object that another sync created from the row whose key is in `columns`."""

    sync: str
    columns: tuple[str, ...]
    when_replaced: WhenReplaced = WhenReplaced.FOLLOW


class Lookup(Struct, frozen=True, kw_only=True):
    """The id of the object in Stripe whose `by` (`email`, `lookup_key`, `id`, `metadata.x` …) equals the column."""

    resource: str
    by: str
    column: str


class ListOf(Struct, frozen=True, kw_only=True):
    """A list written out in YAML: each item is a value, or the fields of a hash."""

    items: tuple[Value | tuple[FieldMapping, ...], ...]


class ChildRows(Struct, frozen=True, kw_only=True):
    """A list with one hash for each row of a child model whose `on` columns equal this row's key columns.

    `parent_on` names the parent's columns that `on` is compared with, in the same order.
    """

    model: ModelNode
    on: tuple[str, ...]
    parent_on: tuple[str, ...]
    fields: tuple[FieldMapping, ...]
    order_by: tuple[str, ...] = ()


Value: TypeAlias = "Column | Template | Constant | SyncRef | Lookup | ListOf | ChildRows"


class FieldMapping(Struct, frozen=True, kw_only=True):
    """One parameter (`path`, split at dots) and the source of its value. `where` is its location in the YAML."""

    path: tuple[str, ...]
    value: Value
    nulls: Nulls = Nulls.DEFAULT
    where: Location = Location()


def values_in(fields: Iterable[FieldMapping]) -> Iterator[tuple[Value, Location]]:
    """Every value of some fields with its location: a written-out list is its values, child rows are one value."""
    for field in fields:
        yield from values_of(field.value, field.where)


def values_of(value: Value, where: Location) -> Iterator[tuple[Value, Location]]:
    """The same of one value, at a location."""
    if isinstance(value, ListOf):
        for item in value.items:
            yield from values_in(item) if isinstance(item, tuple) else values_of(item, where)
    else:
        yield value, where


class Match(Struct, frozen=True, kw_only=True):
    """One way to find the object of a row without a record: the object's `by` equals the row's value for it.

    `value` is the source of the row's value (the field mapped at `by`, or a key column for `metadata.<column>`).
    """

    by: str
    value: Value


class OnAmbiguous(Enum):
    """What to do if `match` finds several objects for one row."""

    REJECT = "reject"
    NEWEST = "newest"
    OLDEST = "oldest"


class MatchEmail(Enum):
    """How `match: [email]` compares addresses: exactly, or ignoring case."""

    EXACT = "exact"
    IGNORE_CASE = "ignore_case"


class OnDrift(Enum):
    """What to do if somebody changed a field in Stripe that a row has set.

    `REPORT` leaves it, reports it, and makes the exit code 1 until it is resolved. `KEEP` leaves it and reports it
    once. `OVERWRITE` sets it again.
    """

    REPORT = "report"
    KEEP = "keep"
    OVERWRITE = "overwrite"


class ItemsOwned(Enum):
    """Which items of a list belong to a row: those that it added, or all of them."""

    OURS = "ours"
    ALL = "all"


class OnDeleted(Enum):
    """What to do with a row whose object was deleted in Stripe."""

    RECREATE = "recreate"
    REJECT = "reject"
    FORGET = "forget"


class WhenEnded(Enum):
    """What to do with a row whose object has ended in Stripe: leave it, or create a new one."""

    KEEP = "keep"
    RESTART = "restart"


class Threshold(Struct, frozen=True, kw_only=True):
    """A limit on a number of rows: an absolute `count`, or a `percent` of the records that the sync has."""

    count: int | None = None
    percent: float | None = None

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent is not None else f"{self.count:,}"


class Limits(Struct, frozen=True, kw_only=True):
    """The limits of a sync.

    If one is exceeded, nothing is sent for the sync. `max_reads` is how many reads of Stripe its part of a plan may
    take.
    """

    max_changes: Threshold | None = None
    max_removed: Threshold | None = None
    max_rejected: Threshold | None = None
    max_reads: int | None = None


class Sync(Struct, frozen=True, kw_only=True):
    """One mapping of a model's rows to objects of one Stripe resource.

    - `depends_on` names the syncs that come first: those that its references need, and those in `after`, which must
      finish completely.
    - `options` holds switches of single resources (`finalize`, `replace` …) as plain JSON.
    - `refresh_every` is how long objects are assumed to be unchanged in Stripe; None means until `--refresh`.
    - `store_values` and `diff` are None if the project's setting applies.
    - `fingerprint` changes when the mapping does.
    - `part_of` names the sync on whose objects this one sets, in a separate step, parameters that refer to objects
      which need them first.
    """

    name: str
    project: str
    model: ModelNode
    resource: str
    key: tuple[str, ...]
    mode: Mode
    match: tuple[Match, ...]
    fields: tuple[FieldMapping, ...]
    on_removed: Removal
    on_ambiguous: OnAmbiguous
    limits: Limits
    depends_on: tuple[str, ...]
    options: Mapping[str, Any]
    fingerprint: str
    where: Location
    after: tuple[str, ...] = ()
    store_values: bool | None = None
    diff: DiffPlace | None = None
    part_of: str | None = None
    items_owned: ItemsOwned = ItemsOwned.OURS
    match_email: MatchEmail = MatchEmail.EXACT
    on_drift: OnDrift = OnDrift.REPORT
    on_deleted: OnDeleted = OnDeleted.REJECT
    when_ended: WhenEnded = WhenEnded.KEEP
    refresh_every: timedelta | None = None

    @property
    def models(self) -> tuple[ModelNode, ...]:
        """The model, and those of its child rows."""
        children = [value.model for value, _ in values_in(self.fields) if isinstance(value, ChildRows)]
        return tuple({model.unique_id: model for model in (self.model, *children)}.values())

    @property
    def stores_rows(self) -> bool:
        """Whether all its models are tables. A view runs its query again each time it is read."""
        return all(model.stores_rows for model in self.models)
