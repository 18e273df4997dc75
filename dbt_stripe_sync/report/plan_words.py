"""The wording that a plan's text and Markdown share: marks, sums, and the problems of each sync."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field

from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.plan import DriftedObject
from dbt_stripe_sync.report.lines import about
from dbt_stripe_sync.report.problems_text import group_problems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.plan import PermanentRemovals, Plan, SyncCounts
    from dbt_stripe_sync.report.problems_text import ProblemGroup

MARKS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.ADOPT: "~",
    Action.REPLACE: "±",
    Action.DELETE: "-",
    Action.ARCHIVE: "-",
    Action.CANCEL: "-",
    Action.VOID: "-",
}
COLORS = {"+": "green", "~": "yellow", "±": "magenta", "-": "red", "!": "red"}
# The order of importance if not everything can be shown: what can't be undone comes first.
BY_RISK = (
    Action.DELETE,
    Action.VOID,
    Action.CANCEL,
    Action.REPLACE,
    Action.ARCHIVE,
    Action.ADOPT,
    Action.UPDATE,
    Action.CREATE,
)
PARTICIPLES = {
    Action.CREATE: "created",
    Action.UPDATE: "updated",
    Action.ADOPT: "adopted",
    Action.REPLACE: "replaced",
    Action.DELETE: "deleted",
    Action.ARCHIVE: "archived",
    Action.CANCEL: "canceled",
    Action.VOID: "voided",
}


class Found(Struct, kw_only=True):
    """Problems by the sync that they concern. `general` has those that concern none of the plan's syncs."""

    by_sync: dict[str, list[Problem]] = field(default_factory=dict)
    general: list[Problem] = field(default_factory=list)

    def rows(self, sync: str, *, together: bool = True) -> list[ProblemGroup]:
        """Problems of single rows of a sync, grouped by cause if `together`."""
        found = [problem for problem in self.by_sync.get(sync, ()) if problem.where.key is not None]
        return group_problems(found) if together else [group for one in found for group in group_problems([one])]

    def whole(self, sync: str) -> list[Problem]:
        """The problems of a sync as a whole."""
        return [problem for problem in self.by_sync.get(sync, ()) if problem.where.key is None]


def sort_problems(problems: Sequence[Problem], counts: Sequence[SyncCounts]) -> Found:
    """Assign each problem to its sync: by the sync's name, or by the model's if only one sync reads it."""
    found = Found(by_sync={count.sync: [] for count in counts})
    models = Counter(count.model for count in counts)
    by_model = {count.model: count.sync for count in counts if models[count.model] == 1}
    for problem in problems:
        where = problem.where
        sync = where.sync if where.sync is not None else by_model.get(where.model or "")
        found.by_sync.get(sync or "", found.general).append(problem)
    return found


def field_of(problem: Problem) -> str:
    """The Stripe parameter that a problem is about, without the path to it in the YAML; empty if there is none."""
    place = problem.where.field or ""
    _, found, parameter = f".{place}".partition(".fields.")
    setting = place.rpartition(".")[2]
    # A problem of the row as a whole is at the sync's block, which is no parameter.
    is_whole = setting.partition("[")[0] == "stripe_sync"
    return parameter if found else "" if is_whole else setting


def verdict_of(problem: Problem) -> str:
    """What became of the rows of a problem. Of a drifted row, only what others changed in Stripe is left alone."""
    return "drifted" if problem.code == "drifted" else "rejected"


def detail_of(change: Change) -> str:
    """What a change does, in words without values; shown after its mark."""
    names = ", ".join(dict.fromkeys(part.path for part in change.changed))
    if change.action is Action.CREATE:
        return ""
    if change.action is Action.ADOPT:
        found = f"found by {change.found_by}" if change.found_by else "found in Stripe"
        return f"{found}; {names}" if names else found
    if change.action is Action.REPLACE:
        return f"{names} (replaced by a new {change.resource})" if names else f"replaced by a new {change.resource}"
    if MARKS[change.action] == "-":
        return _removal(change)
    return f"{names} ({change.reason})" if change.reason else names


def sum_of(plan: Plan) -> str:
    """The plan in one sentence: `2 changes, 1 rejected, 12,398 unchanged`."""
    total = len(plan.changes)
    rejected = sum(count.rejected for count in plan.counts)
    drifted = sum(count.drifted for count in plan.counts)
    same = sum(count.same for count in plan.counts)
    held = sum(count.held is not None for count in plan.counts)
    parts = [counted(total, "change") if total else "Nothing to change"]
    parts += [f"{rejected:,} rejected"] if rejected else []
    parts += [f"{drifted:,} drifted"] if drifted else []
    parts += [f"{counted(held, 'sync')} held back"] if held else []
    parts += [f"{same:,} unchanged"] if same or total else []
    return ", ".join(parts)


def question_of(plan: Plan, removals: Sequence[PermanentRemovals]) -> str:
    """The question before a plan is sent, with the removals that need approval."""
    question = f"Send {counted(len(plan.changes), 'change')}"
    if removals:
        parts = [f"`{gone.removal.value}` of {gone.count:,} in `{gone.sync}`" for gone in removals]
        question += f", including {', '.join(parts)}, which can't be undone"
    return f"{question}?"


def cost_of(plan: Plan, calls_per_second: float) -> str:
    """How many calls the plan sends, their approximate duration, and how many reads planning took.

    `About 2 writes, under a second; planning took 3 reads.`
    """
    calls = sum(count.calls for count in plan.counts)
    writes = f"About {counted(calls, 'write')}, {about(calls / calls_per_second)}" if calls else "No writes"
    return f"{writes}; planning took {counted(plan.reads, 'read')}." if plan.reads else f"{writes}."


def pick_drifted(plan: Plan, most: int) -> dict[str, list[DriftedObject]]:
    """At most `most` objects of each sync that others have changed in Stripe, and that the plan leaves unchanged."""
    picked: dict[str, list[DriftedObject]] = {}
    for entry in plan.refreshes:
        if isinstance(entry, DriftedObject) and entry.is_reported and len(picked.get(entry.sync, ())) < most:
            picked.setdefault(entry.sync, []).append(entry)
    return picked


def actions_of(counts: SyncCounts) -> list[tuple[str, int, str]]:
    """The actions of a sync, as mark, number and verb: `("+", 12, "create")`."""
    found = {Action(name): number for name, number in counts.by_action.items() if number}
    return [(MARKS[action], found[action], action.value) for action in reversed(BY_RISK) if action in found]


def place_of(plan: Plan) -> str:
    """Where the plan would write: account and mode."""
    header = plan.header
    return f"target {header.target}, account {header.account}, {'LIVE' if header.livemode else 'test'} mode"


def _removal(change: Change) -> str:
    """A removal that is an update shows which parameters it sets: they come from Stripe's rules, not from the row."""
    names = [name for call in change.calls if call.operation == "update" for name in call.params]
    return f"{change.action.value}, sets {', '.join(names)}" if names else change.action.value
