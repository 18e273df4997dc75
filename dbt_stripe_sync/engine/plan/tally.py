"""The counts of planning so far, for one sync's rows or one lane of an undo."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field

from dbt_stripe_sync.model.change import Change, kind_of, other_kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dbt_stripe_sync.engine.decide.rules import Reject
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.plan import Note

# If every row is invalid, problems must not fill the memory: past this number they are counted, not kept.
MOST_PROBLEMS = 10_000
# A plan shows at least one example for up to this many kinds of change of a sync. This limits what is shown, not sent.
MOST_KINDS = 40


class Tally(Struct, kw_only=True):
    """The summed decisions on some rows."""

    actions: Counter[str] = field(default_factory=Counter)
    notes: Counter[Note] = field(default_factory=Counter)
    row_notes: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    rejected: int = 0
    same: int = 0
    drifted: int = 0
    calls: int = 0
    in_bulk: int = 0
    rejected_keys: set[str] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)

    def count_change(self, change: Change) -> None:
        """Count a change and its calls. Past a number of kinds, changes are counted by action."""
        self.actions[change.action.value] += 1
        kind = kind_of(change)
        if kind not in self.kinds and len(self.kinds) >= MOST_KINDS:
            kind = other_kind(change)
        self.kinds[kind] += 1
        in_bulk = sum(call.in_bulk for call in change.calls)
        self.in_bulk += in_bulk
        self.calls += len(change.calls) - in_bulk

    def discount(self, change: Change) -> None:
        """No longer count a change, since it can't be part of the plan."""
        kind = kind_of(change)
        self.actions[change.action.value] -= 1
        self.kinds[kind if kind in self.kinds else other_kind(change)] -= 1
        in_bulk = sum(call.in_bulk for call in change.calls)
        self.in_bulk -= in_bulk
        self.calls -= len(change.calls) - in_bulk

    def count_rejected(self, rejected: Reject) -> None:
        """Count a row that can't be sent, with its problems."""
        self.rejected += 1
        self.keep_problems(rejected.problems)

    def keep_problems(self, problems: Iterable[Problem]) -> None:
        """Add problems while there is room for them."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems += problems
