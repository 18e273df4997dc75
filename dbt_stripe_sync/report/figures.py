"""Counts a sync's rows in figures that add up: each row of the model, and each removal, is counted once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Self

from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.model.change import REMOVALS
from dbt_stripe_sync.model.plan import undone_creations
from dbt_stripe_sync.model.run import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dbt_stripe_sync.model.plan import SyncCounts


class Figures(Struct, kw_only=True):
    """Rows of the models, rows that left them (`removals`), and their results.

    `rows + removals` is the sum of all `parts`. `steps` counts further steps, such as the end of a replaced object, and
    `earlier` the results of changes that an earlier run had left open. Both are counted separately from the rows.
    """

    rows: int = 0
    removals: int = 0
    written: int = 0
    rejected: int = 0
    unknown: int = 0
    skipped: int = 0
    not_sent: int = 0
    before: int = 0
    drifted: int = 0
    unchanged: int = 0
    left_out: int = 0
    held: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    earlier: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Self) -> Self:
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    def parts(self) -> Iterator[tuple[str, int, str]]:
        """Each figure with its name and its label; zeros are left out, except for two."""
        for name, word in WORDS.items():
            if (number := getattr(self, name)) or name in ALWAYS:
                yield name, number, word

    @property
    def not_done(self) -> int:
        """Rows that are not in Stripe as the model has them."""
        return self.rejected + self.unknown + self.skipped + self.not_sent


WORDS = {
    "written": "written",
    "rejected": "rejected",
    "unknown": "unresolved",
    "skipped": "skipped",
    "not_sent": "not sent",
    "held": "held back",
    "before": "written before",
    "drifted": "drifted",
    "left_out": "left out",
    "unchanged": "unchanged",
}
ALWAYS = ("written", "unchanged")


def figures_of(counts: SyncCounts) -> Figures:
    """The figures of one sync, before its plan is sent or afterwards."""
    ended = Counter(counts.ended)
    planned = sum(counts.by_action.values())
    removals = sum(counts.by_action.get(action.value, 0) for action in REMOVALS)
    not_looked_at = counts.rows - counts.same - counts.rejected - counts.drifted - (planned - removals)
    figures = Figures(
        rows=counts.rows,
        # A row that left the model and whose removal is rejected counts as rejected.
        removals=removals + max(0, -not_looked_at),
        written=ended[Status.SUCCEEDED.value],
        rejected=counts.rejected + ended[Status.REJECTED.value],
        unknown=ended[Status.UNKNOWN.value],
        skipped=ended[Status.SKIPPED.value],
        not_sent=max(0, planned - ended.total() - counts.before),
        before=counts.before,
        drifted=counts.drifted,
        unchanged=counts.same,
        steps=Counter(counts.steps),
        earlier=Counter(counts.earlier),
    )
    if counts.held is not None:
        figures.held = max(0, not_looked_at)
    else:
        figures.left_out = max(0, not_looked_at)
    return figures


def of_syncs(counts: Sequence[SyncCounts]) -> Iterator[SyncCounts]:
    """The counts of each sync and of its further steps.

    An undo removes what the run had created in a lane of its own, but records the results with the sync: here the
    rows of both are together.
    """
    created = {one.part_of: one for one in counts if is_undone_creation(one)}
    for one in counts:
        lane = created.get(one.sync)
        if lane is not None:
            removals = sum(lane.by_action.get(action.value, 0) for action in REMOVALS)
            yield replace(
                one,
                rows=one.rows + lane.rows - removals,
                same=one.same + lane.same,
                rejected=one.rejected + lane.rejected,
                by_action=Counter(one.by_action) + Counter(lane.by_action),
                notes=(*one.notes, *lane.notes),
            )
        elif not is_undone_creation(one):
            yield one


def is_undone_creation(counts: SyncCounts) -> bool:
    """Whether these are the counts of the objects that an undo removes, because the run had created them."""
    return counts.part_of is not None and counts.sync == undone_creations(counts.part_of)


def add_up(counts: Sequence[SyncCounts]) -> Figures:
    """The figures of a whole run. The further steps of a sync are counted with it."""
    return sum((figures_of(one) for one in of_syncs(counts) if one.part_of is None), Figures())
