"""The values of a plan: what has to be done, and what it was made for."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - the codec reads the annotations of what it decodes
from datetime import datetime  # noqa: TC003 - the same
from typing import TYPE_CHECKING, Protocol, TypeAlias

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dbt_stripe_sync.model.change import Change, FieldChange, Owed
    from dbt_stripe_sync.model.errors import Location, Problem
    from dbt_stripe_sync.model.lifecycle import Removal
    from dbt_stripe_sync.model.record import Record
    from dbt_stripe_sync.model.sync import Sync


class Note(Struct, frozen=True, kw_only=True):
    """A note about a sync's part of a plan.

    `rows` is how many rows it is about, None for the whole sync. `before_sending` says that it doesn't concern a run's
    results.
    """

    text: str
    rows: int | None = None
    before_sending: bool = False

    def __str__(self) -> str:
        if self.rows is None:
            return self.text
        return f"{self.rows:,} {'row' if self.rows == 1 else 'rows'}: {self.text}"


def undone_creations(sync: str) -> str:
    """Return the name of the separate lane in which an undo removes what the run had created for a sync."""
    return f"{sync}: created"


class SyncCounts(Struct, frozen=True, kw_only=True):
    """What the plan found for one sync, in rows.

    - `after` names the syncs that must finish before it starts.
    - `part_of` names the sync with which the results of a separate lane are reported.
    - `drifted` are the rows whose objects others have changed in Stripe, and which the plan leaves unchanged.
    - `reads` is the number of requests that compared the rows with Stripe.
    - `kinds` counts the changes by what they do (`kind_of`).

    After the plan was sent, `ended` counts the rows' changes by their status, and `steps` further steps, such as
    archiving a replaced object. `before` is the number of changes that an earlier `apply` of the plan had
    made, and `earlier` the results of changes that an earlier run had left open.
    """

    sync: str
    model: str
    resource: str
    rows: int = 0
    same: int = 0
    rejected: int = 0
    held: str | None = None
    by_action: Mapping[str, int] = field(default_factory=dict)
    kinds: Mapping[str, int] = field(default_factory=dict)
    calls: int = 0
    read_seconds: float = 0.0
    diff_seconds: float = 0.0
    notes: tuple[Note, ...] = ()
    after: tuple[str, ...] = ()
    part_of: str | None = None
    drifted: int = 0
    reads: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    steps: Mapping[str, int] = field(default_factory=dict)
    before: int = 0
    earlier: Mapping[str, int] = field(default_factory=dict)


class PermanentRemovals(Struct, frozen=True, kw_only=True):
    """Removals of one sync that can't be undone, and that its `limits.max_removed` doesn't pre-approve."""

    sync: str
    resource: str
    removal: Removal
    count: int
    where: Location


class PlanHeader(Struct, frozen=True, kw_only=True):
    """What a plan was made for; `apply` rejects it if any of this has changed. `state_serial` counts state writes."""

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
    """The changes of a plan, ordered by sync. They can be iterated many times and need not be in memory."""

    def __iter__(self) -> Iterator[Change]:
        """All changes, parents before children."""
        ...

    def __len__(self) -> int:
        """The number of changes."""
        ...

    def of(self, sync: str) -> Iterator[Change]:
        """The changes of one sync, in the order of their keys."""
        ...


class Touched(Struct, frozen=True, kw_only=True):
    """A row whose parameters match its record: only the record's hash and references change."""

    sync: str
    key: str
    source_hash: int | None
    refs: str | None


class FormerObject(Struct, frozen=True, kw_only=True):
    """An object that a row had before another replaced it, and that others may still refer to."""

    sync: str
    key: str
    stripe_id: str


class ReadBack(Struct, frozen=True, kw_only=True):
    """When the objects of a sync were last read back."""

    sync: str
    at: datetime


class DriftedObject(Struct, frozen=True, kw_only=True):
    """An object that was read back and differs from what was written.

    `digest` identifies the difference. `changed` has the row's values as `before` and Stripe's as `after`.
    `is_reported` says that the plan leaves the object unchanged and reports it; otherwise a change of the plan handles
    it, or it was reported before. `author` is who changed it, if known.
    """

    sync: str
    key: str
    resource: str
    stripe_id: str
    digest: str
    changed: tuple[FieldChange, ...]
    is_reported: bool
    author: str | None = None


class SettledDrift(Struct, frozen=True, kw_only=True):
    """A row whose object matches what was written again."""

    sync: str
    key: str


class ObjectSeen(Struct, frozen=True, kw_only=True):
    """A row whose object was found to be deleted, or to exist after all."""

    sync: str
    key: str
    missing: bool


Refreshed: TypeAlias = "Record | Touched | FormerObject | ReadBack | DriftedObject | SettledDrift | ObjectSeen"


class ReadingCost(Struct, frozen=True, kw_only=True):
    """The cost of reading a sync's objects back: between `least` and `most` calls.

    With `is_search` the objects aren't known yet: they are searched for, for this many rows without a record. `most` is
    infinite if Stripe can only list everything in the account.
    """

    sync: str
    objects: int
    least: int
    most: float
    is_search: bool = False


class Plan(Struct, frozen=True, kw_only=True):
    """What has to be done.

    - `refreshes` are record updates that need no call.
    - `owed` are steps of earlier changes that are still to be done.
    - `reads` is the number of requests that planning took.
    - `digest` covers the whole plan, and `signature` is its signature by the state that the plan was made from.
    """

    header: PlanHeader
    changes: Changes
    counts: tuple[SyncCounts, ...]
    problems: tuple[Problem, ...]
    refreshes: Iterable[Refreshed] = ()
    owed: tuple[Owed, ...] = ()
    reads: int = 0
    digest: str = ""
    signature: str = ""


class PlanOptions(Struct, frozen=True, kw_only=True):
    """What a plan compares and how much it may change.

    `full_refresh` compares every row by its parameters; `most_changes` limits the number of changes. `refresh` reads
    every object back from Stripe and reports what others have changed. `only` names the keys, by sync, of the rows to
    compare; None compares all.
    """

    full_refresh: bool = False
    refresh: bool = False
    most_changes: int | None = None
    only: Mapping[str, frozenset[str]] | None = None

    def keys_of(self, sync: Sync) -> frozenset[str] | None:
        """Return the keys of a sync's rows that the plan includes, or None for all."""
        return None if self.only is None else self.only.get(sync.name, frozenset())


class Agree(Protocol):
    """Decides whether to send a plan with permanent removals that no limit of the project bounds."""

    def __call__(self, plan: Plan, removals: Sequence[PermanentRemovals], /) -> bool:
        """Called once the plan is made and before any part of it is sent; `removals` are those to approve."""
        ...


class Review(Protocol):
    """Sees every plan before it is sent, and may raise `PlanError` to stop it."""

    def __call__(self, plan: Plan, /, *, is_first: bool) -> None:
        """Called once the plan is made; `is_first` says that the state has no record yet."""
        ...
