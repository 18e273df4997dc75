"""The words of the project as types: what dbt says, what the user mapped, what has to change, what happened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from dbt_stripe_sync.errors import Location, Problem
from dbt_stripe_sync.stripe_api.lifecycle import CREATING, IN_BULK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from dbt_stripe_sync.stripe_api.calls import StripeFailure
    from dbt_stripe_sync.stripe_api.lifecycle import Mode, Removal

Params: TypeAlias = "Mapping[str, Any]"
"""Stripe parameters as nested JSON: str, int, bool, list, dict; `Ref` where an id is not known before the run;
`Fingerprint` in what was read from a record whose values are not stored."""


# ── what dbt says ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Where a model lives in the warehouse. `rendered` is dbt's own quoted name (`relation_name`)."""

    database: str | None
    schema: str | None
    identifier: str
    rendered: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNode:
    """A column that the YAML describes. `meta` is its own: what dbt 2 copies from the model is taken out."""

    name: str
    data_type: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNode:
    """A model, seed or snapshot of the manifest.

    `file` is where its meta stands (the YAML's path from the project's root, else the SQL file's). `relation` is None
    for an ephemeral model, whose compiled SQL is `sql`. `raw_meta` is the meta before dbt rendered it
    (`unrendered_config.meta`), None where the manifest has none. `current_rows` is the SQL condition that leaves a
    snapshot's history out; None where every row is current.
    """

    unique_id: str
    name: str
    package: str
    resource_type: str
    materialized: str
    file: str
    path: str
    fqn: tuple[str, ...]
    tags: tuple[str, ...]
    depends_on: tuple[str, ...]
    relation: Relation | None
    sql: str | None
    meta: Mapping[str, Any]
    raw_meta: Mapping[str, Any] | None
    columns: Mapping[str, ColumnNode]
    version: str | None = None
    latest_version: str | None = None
    access: str | None = None
    current_rows: str | None = None

    @property
    def label(self) -> str:
        """Its name for people, with its version where it has one."""
        return self.name if self.version is None else f"{self.name} (v={self.version})"

    @property
    def is_latest(self) -> bool:
        """Whether `ref()` without a version means this one."""
        return self.version == self.latest_version

    def source(self, columns: tuple[str, ...] = ()) -> RowSource:
        """What a warehouse is asked for to read some of its columns."""
        return RowSource(name=self.name, relation=self.relation, sql=self.sql, columns=columns, where=self.current_rows)

    def with_history(self) -> ModelNode:
        """The same snapshot with the rows that dbt has closed."""
        return replace(self, current_rows=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """What a warehouse is asked for: some columns of a relation or of a query. `name` is the model's, for messages.

    `where` is a condition in the warehouse's own SQL that every row has to meet.
    """

    name: str
    relation: Relation | None
    sql: str | None
    columns: tuple[str, ...]
    where: str | None = None


# ── what the user mapped ─────────────────────────────────────────────────────────────────────────────────────────


class Nulls(Enum):
    """What a null does to a field that we have set before: `CLEAR` empties it in Stripe, `IGNORE` leaves it.

    `DEFAULT` clears where Stripe can clear the field, and rejects the row where it can't.
    """

    DEFAULT = "default"
    CLEAR = "clear"
    IGNORE = "ignore"


class Conversion(Enum):
    """How a column's value becomes a parameter's, where the parameter's type does not say it."""

    MINOR_UNITS = "minor_units"
    UNIX_SECONDS = "unix_seconds"
    JSON = "json"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column's value. `currency` (a code) or `currency_column` goes with `MINOR_UNITS`."""

    name: str
    convert: Conversion | None = None
    currency: str | None = None
    currency_column: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A Jinja2 text with `[[ ]]` or `{{ }}` over `columns`."""

    source: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same value for every row."""

    value: Any


class WhenReplaced(Enum):
    """What a row does whose reference leads to an object that a new one has replaced.

    `FOLLOW` refers to the new one. `KEEP` stays with the old one until the row names another key: a subscription keeps
    the price at which it was sold.
    """

    FOLLOW = "follow"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRef:
    """The id of the object that another sync made from the row whose key stands in `columns`."""

    sync: str
    columns: tuple[str, ...]
    when_replaced: WhenReplaced = WhenReplaced.FOLLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """The id of the object in Stripe whose `by` (`email`, `lookup_key`, `id`, `metadata.x` …) equals the column."""

    resource: str
    by: str
    column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """A list written out in YAML: each item is a value, or the fields of a hash."""

    items: tuple[Value | tuple[FieldMapping, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRows:
    """A list with one hash for each row of a child model whose `on` columns equal this row's key columns.

    `parent_on` names the columns of the parent that `on` is compared with, in the same order.
    """

    model: ModelNode
    on: tuple[str, ...]
    parent_on: tuple[str, ...]
    fields: tuple[FieldMapping, ...]
    order_by: tuple[str, ...] = ()


Value: TypeAlias = "Column | Template | Constant | SyncRef | Lookup | ListOf | ChildRows"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMapping:
    """One parameter (`path`, from dots) and where its value comes from. `where` is its place in the YAML."""

    path: tuple[str, ...]
    value: Value
    nulls: Nulls = Nulls.DEFAULT
    where: Location = Location()


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One way to find the object of a row without a record: the object's `by` equals the row's value there.

    `value` is where the row's side comes from (the field mapped at `by`, or a key column for `metadata.<column>`).
    """

    by: str
    value: Value


class OnAmbiguous(Enum):
    """What to do where `match` finds several objects for one row."""

    REJECT = "reject"
    NEWEST = "newest"
    OLDEST = "oldest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A limit on a number of rows: an absolute `count`, or a `percent` of the records that the sync has."""

    count: int | None = None
    percent: float | None = None

    def __str__(self) -> str:
        return f"{self.percent:g}%" if self.percent is not None else f"{self.count:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Where a sync holds itself back: past one of these nothing of it is sent."""

    max_changes: Threshold | None = None
    max_removed: Threshold | None = None
    max_rejected: Threshold | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """One mapping of a model's rows to objects of one Stripe resource.

    `depends_on` names the syncs that come first: those that its references need, and those of `after`, which have to be
    done as a whole. `options` holds switches of single resources (`finalize`, `replace` …) as plain JSON.
    `store_values` is None where the project's setting holds. `fingerprint` changes when the mapping does.
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


# ── what has to change ───────────────────────────────────────────────────────────────────────────────────────────


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncCounts:
    """What the plan found for one sync, in rows. `after` names the syncs that have to be done before it begins."""

    sync: str
    model: str
    resource: str
    rows: int = 0
    same: int = 0
    rejected: int = 0
    held: str | None = None
    by_action: Mapping[str, int] = field(default_factory=dict)
    calls: int = 0
    read_seconds: float = 0.0
    diff_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PermanentRemovals:
    """Removals of one sync that can't be undone, and to which its `limits.max_removed` does not agree beforehand."""

    sync: str
    resource: str
    removal: Removal
    count: int
    where: Location


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHeader:
    """What a plan was made for; `apply` refuses it where one of these has moved. `state_serial` counts state writes."""

    plan_id: str
    created_at: datetime
    project: str
    target: str
    account: str
    livemode: bool
    api_version: str
    state_id: str
    state_serial: int
    manifest_digest: str
    version: str


class Changes(Protocol):
    """The changes of a plan, ordered by sync. They can be walked many times and need not be in memory."""

    def __iter__(self) -> Iterator[Change]:
        """All of them, parents before children."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...

    def of(self, sync: str) -> Iterator[Change]:
        """Those of one sync, in the order of their keys."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What has to be done."""

    header: PlanHeader
    changes: Changes
    counts: tuple[SyncCounts, ...]
    problems: tuple[Problem, ...]


# ── what happened ────────────────────────────────────────────────────────────────────────────────────────────────


class Status(Enum):
    """How one change ended. `UNKNOWN` may have happened: the next run finds out before it does anything else."""

    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What we last wrote for one row. `params` is every parameter that is ours, as last sent.

    `refs` holds the ids that the row referred to, in the order of the mapping, joined by U+001E. `removed` says that
    the row left the model and its object was archived or the like (it can come back); a deleted one has no record.
    """

    sync: str
    key: str
    resource: str
    stripe_id: str
    params: Params
    payload_hash: str
    source_hash: int | None
    refs: str | None
    removed: bool = False
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A change that is about to be sent, durable before its first call, with the exact parameters of every call.

    `step` is the index of the next call; `stripe_id` the object made or named so far. `keys` holds one idempotency key
    a call; `key_sent_at` is when the key of `step` was first used, in UTC. `key_spent` says that Stripe has saved a
    failure under that key, so that it can only be repeated. `change` has its references resolved: the record is made
    from it.
    """

    id: str
    run_id: str
    change: Change
    keys: tuple[str, ...]
    step: int = 0
    stripe_id: str | None = None
    key_sent_at: datetime | None = None
    key_spent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a change of a saved plan ended in an earlier apply of it, where it must not be sent again.

    `REJECTED` means that its object was made and that Stripe refused what came after. `stripe_id` is the object for
    those that refer to it, None where there may be none.
    """

    status: Status
    stripe_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one change ended, with what a person needs to look into it. `record` is what the state holds afterwards.

    An outcome closes its intent, except an `UNKNOWN` one: its intent stays open until a later run has settled it.
    """

    intent_id: str | None
    run_id: str
    change: Change
    status: Status
    record: Record | None
    stripe_id: str | None = None
    request_id: str | None = None
    failure: StripeFailure | None = None
    reason: str | None = None
    attempts: int = 0
    finished_at: datetime | None = None


class RunStatus(Enum):
    """How a run ended: `PARTIAL` means that something was rejected, skipped, held or is unknown."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What a run did, for the text, JSON and HTML views. `outcomes` can be walked many times."""

    run_id: str
    header: PlanHeader
    status: RunStatus
    started_at: datetime
    finished_at: datetime
    counts: tuple[SyncCounts, ...]
    problems: tuple[Problem, ...]
    outcomes: Iterable[Outcome]
    done: Mapping[str, int]
    requests: int
    dry_run: bool = False
