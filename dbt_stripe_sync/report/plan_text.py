"""Renders a plan for a terminal: counts first, then what differs, then what to do."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct
from rich.cells import cell_len

from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.report.alike import Alike, mask_ids, pick_alike
from dbt_stripe_sync.report.call_text import render_calls
from dbt_stripe_sync.report.figures import is_undone_creation
from dbt_stripe_sync.report.lines import Paint, cut, pad, plain, wrap, wrap_marked
from dbt_stripe_sync.report.owed_text import render_owed
from dbt_stripe_sync.report.plan_words import (
    BY_RISK,
    COLORS,
    MARKS,
    actions_of,
    cost_of,
    detail_of,
    field_of,
    pick_drifted,
    place_of,
    sort_problems,
    sum_of,
)
from dbt_stripe_sync.report.price_moves import find_price_moves, render_price_moves
from dbt_stripe_sync.report.problems_text import render_problems
from dbt_stripe_sync.report.value_text import render_drifted, render_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.plan import DriftedObject, Plan, SyncCounts
    from dbt_stripe_sync.report.plan_words import Found
    from dbt_stripe_sync.report.problems_text import ProblemGroup

NARROWEST = 40
SHOWN_ROWS_OF_A_PROBLEM = 3
INDENT = "  "
# 80 % of the 25 calls per second that Stripe allows each endpoint (docs.stripe.com/rate-limits).
CALLS_PER_SECOND = 20.0


class PlanStyle(Struct, frozen=True, kw_only=True):
    """How to show a plan: with row values or not, in how many columns, and at most how many changes of each sync.

    `show_amounts` shows amounts of prices even without `show_values`. `calls_per_second` is the pace at which the
    plan's calls would leave. `sent_by` is the command that sends the plan, for the hint. `all_rows` shows every change
    and every rejected row, one by one.
    """

    show_values: bool = False
    show_amounts: bool = False
    width: int = 80
    color: bool = False
    most_rows: int = 50
    calls_per_second: float = CALLS_PER_SECOND
    sent_by: str | None = "`dbt-stripe-sync run`"
    all_rows: bool = False


def render_plan(plan: Plan, *, style: PlanStyle) -> Iterator[str]:
    """The lines of a plan, sync by sync. At most `most_rows` changes of a sync are in memory."""
    paint = Paint(on=style.color)
    width = max(NARROWEST, style.width)
    found = sort_problems(plan.problems, plan.counts)
    drifted = pick_drifted(plan, style.most_rows) if style.show_values else {}
    if plan.owed:
        yield from render_owed(plan.owed, width=width, paint=paint, with_values=style.show_values)
        yield ""
    undone = {counts.part_of for counts in plan.counts if is_undone_creation(counts)}
    for counts in plan.counts:
        # Of a sync whose rows were all created, an undo has only the lane that removes them.
        if counts.sync in undone and not (counts.rows or counts.notes):
            continue
        yield from _sync(plan, counts, found, style, width, drifted.get(counts.sync, ()))
    yield from _moves(plan, style, width)
    yield ""
    yield from wrap(f"{sum_of(plan)}. {cost_of(plan, style.calls_per_second)}", width)
    place = place_of(plan)
    yield paint(cut(f"{place[0].upper()}{place[1:]}.", width), "red" if plan.header.livemode else "dim")
    if found.general:
        yield ""
        yield from render_problems(found.general, color=style.color, width=width)
    yield from _hint(plan, style, width, general=bool(found.general))


def _moves(plan: Plan, style: PlanStyle, width: int) -> Iterator[str]:
    """What replaced prices do to subscriptions, before the totals."""
    moves = find_price_moves(plan)
    if moves:
        yield ""
        yield Paint(on=style.color)("Price changes:", "bold")
    for line in render_price_moves(moves, with_amounts=style.show_values or style.show_amounts):
        yield from wrap(line, width, indent=INDENT * 2, first=INDENT)


def _sync(
    plan: Plan, counts: SyncCounts, found: Found, style: PlanStyle, width: int, drifted: Sequence[DriftedObject]
) -> Iterator[str]:
    paint = Paint(on=style.color)
    yield _heading(counts, width, paint)
    if counts.held is not None:
        yield from _bad(f"held back: {plain(counts.held)}", width, paint)
    for problem in found.whole(counts.sync):
        if not (counts.held and problem.summary.endswith(counts.held)):
            yield from _bad(plain(problem.summary), width, paint)
        if problem.hint:
            yield from _advice(problem.hint, width, paint)
    yield from (_every_row if style.all_rows else _some_rows)(plan, counts, found, style, width)
    yield from _drifted(drifted, width)
    for note in counts.notes:
        yield from wrap(f"note: {plain(str(note))}", width, indent=INDENT * 2, first=INDENT)


def _some_rows(plan: Plan, counts: SyncCounts, found: Found, style: PlanStyle, width: int) -> Iterator[str]:
    """Examples of each kind of change, and how many more there are."""
    picked, hidden = pick_alike(plan.changes, counts, style.most_rows, with_values=style.show_values)
    yield from _rows(picked, found.rows(counts.sync), style, width)
    if hidden > 0:
        shown = ", ".join(f"{number:,} to {word}" for _, number, word in actions_of(counts))
        text = f"… and {hidden:,} more ({shown} in total); `dbt-stripe-sync plan --all` shows every one"
        yield from wrap(text, width, indent=INDENT * 2, first=INDENT)


def _every_row(plan: Plan, counts: SyncCounts, found: Found, style: PlanStyle, width: int) -> Iterator[str]:
    """Each change individually, a batch at a time, and each rejected row."""
    changes = iter(plan.changes.of(counts.sync))
    while batch := [Alike(changes=[change], rows=1) for change in islice(changes, style.most_rows)]:
        yield from _rows(batch, (), style, width)
    yield from _rows((), found.rows(counts.sync, together=False), style, width)


def _heading(counts: SyncCounts, width: int, paint: Paint) -> str:
    """A line like `stripe_customers -> customer 12,401 rows 3 to change`, with aligned figures."""
    total = sum(counts.by_action.values())
    found = [(total, "to change"), (counts.rejected, "rejected"), (counts.drifted, "drifted")]
    change = ", ".join(f"{number:,} {word}" for number, word in found if number) or "unchanged"
    change = "held back" if counts.held is not None else change
    figures = f"{counts.rows:>11,} {'row' if counts.rows == 1 else 'rows':<4}   {change}"
    name = cut(f"{plain(counts.sync)} -> {counts.resource}", max(8, width - cell_len(figures) - 2))
    room = min(36, width - cell_len(figures) - 2)
    # A long name takes the space before the figures, but their columns stay the same.
    shown = figures.lstrip()
    gap = max(2, room + 2 + cell_len(figures) - cell_len(name) - cell_len(shown))
    return f"{paint(name, 'bold')}{' ' * gap}{shown}"


def _rows(entries: Sequence[Alike], groups: Sequence[ProblemGroup], style: PlanStyle, width: int) -> Iterator[str]:
    paint = Paint(on=style.color)
    alone = [entry.first for entry in entries if entry.rows == 1]
    keys = [change.key for change in alone] + [key for group in groups for key in group.keys[:SHOWN_ROWS_OF_A_PROBLEM]]
    key_width = min(max((cell_len(plain(key)) for key in keys), default=0), max(8, width // 4))
    id_width = min(max((cell_len(change.stripe_id or "") for change in alone), default=0), max(9, width // 5))
    for entry in entries:
        change, mark = entry.first, MARKS[entry.first.action]
        if entry.rows > 1:
            yield from _alike(entry, style, width)
            continue
        start = f"{INDENT}{paint(mark, COLORS[mark])} {pad(cut(plain(change.key), key_width), key_width)}"
        if id_width:
            start += f"   {pad(cut(plain(change.stripe_id or ''), id_width), id_width)}"
        used = len(INDENT) + 2 + key_width + (3 + id_width if id_width else 0)
        detail = cut(plain(detail_of(change)), max(1, width - used - 3))
        yield f"{start}   {detail}".rstrip()
        if style.show_values:
            yield from _values(change, width)
    for group in groups:
        yield from _problem_rows(group, key_width, width, paint)


def _alike(entry: Alike, style: PlanStyle, width: int) -> Iterator[str]:
    """Many changes that do the same, shown as one without their individual ids."""
    mark = MARKS[entry.first.action]
    keys = ", ".join(f"[{plain(change.key)}]" for change in entry.changes[:SHOWN_ROWS_OF_A_PROBLEM])
    text = f"{counted(entry.rows, 'row')} alike ({keys} …)   {mask_ids(plain(detail_of(entry.first)))}".rstrip()
    yield from wrap_marked(mark, text, width, Paint(on=style.color), color=COLORS[mark], indent=INDENT)
    if style.show_values:
        yield from _values(entry.first, width, with_ids=False)


def _values(change: Change, width: int, *, with_ids: bool = True) -> Iterator[str]:
    """The old and new value of each parameter, below its change, then what else its calls send."""
    parts = list(render_parts(change))
    widest = width // 3
    name_width = min(max((cell_len(plain(part.path)) for part in parts), default=0), widest)
    is_new = change.action is Action.CREATE
    for part in parts:
        text = part.after if is_new else f"{part.before} -> {part.after}"
        label, indent = f"{INDENT * 3}{pad(plain(part.path), name_width)}  ", " " * (len(INDENT * 3) + name_width + 4)
        if cell_len(plain(part.path)) > widest:
            # A long name is never cut; it may take one or more lines.
            text, label, indent = f"{plain(part.path)} {text}", INDENT * 3, INDENT * 5
        yield from wrap(text, width, first=label, indent=indent)
    for call in render_calls(change, [(part.path, part.after) for part in parts]):
        yield from wrap(call if with_ids else mask_ids(call), width, first=INDENT * 3, indent=INDENT * 5)


def _drifted(drifted: Sequence[DriftedObject], width: int) -> Iterator[str]:
    """What others have changed in Stripe: the row's values, then Stripe's."""
    if drifted:
        yield from wrap("changed in Stripe, model -> Stripe:", width, indent=INDENT * 2, first=INDENT)
    for entry in drifted:
        yield cut(f"{INDENT * 2}{plain(entry.key)}   {plain(entry.stripe_id)}", width)
        if entry.author is not None:
            yield from wrap(plain(entry.author), width, indent=INDENT * 3, first=INDENT * 3)
        parts = list(render_drifted(entry))
        name_width = min(max(cell_len(plain(part.path)) for part in parts), width // 3)
        for part in parts:
            label = f"{INDENT * 3}{pad(cut(plain(part.path), name_width), name_width)}  "
            text = f"{part.before} -> {part.after}"
            yield from wrap(text, width, first=label, indent=" " * (cell_len(label) + 2))


def _problem_rows(group: ProblemGroup, key_width: int, width: int, paint: Paint) -> Iterator[str]:
    summary = plain(group.first.summary)
    indent = " " * (len(INDENT) + 2 + key_width + 3)
    mark = paint("!", COLORS["!"])
    for index, key in enumerate(group.keys[:SHOWN_ROWS_OF_A_PROBLEM]):
        start = f"{INDENT}! {pad(cut(plain(key), key_width), key_width)}   "
        lines = wrap(summary if not index else _further_problem(group.first), width, first=start, indent=indent)
        for line in lines:
            yield line.replace("!", mark, 1) if line.startswith(f"{INDENT}!") else line
    more = group.rows - min(len(group.keys), SHOWN_ROWS_OF_A_PROBLEM)
    if more > 0:
        yield from _bad(f"and {counted(more, 'more row')} ({_further_problem(group.first)})", width, paint)
    if group.first.hint:
        yield from _advice(group.first.hint, width, paint)


def _further_problem(problem: Problem) -> str:
    """A problem of a further row, by its code, because details of the first one's summary may not apply to it."""
    field = field_of(problem)
    return plain(f"{problem.code}: {field}" if field else problem.code)


def _bad(text: str, width: int, paint: Paint) -> Iterator[str]:
    return wrap_marked("!", text, width, paint, color=COLORS["!"], indent=INDENT)


def _advice(hint: str, width: int, paint: Paint) -> Iterator[str]:
    return wrap_marked("hint:", plain(hint), width, paint, color="cyan", indent=INDENT * 2)


def _hint(plan: Plan, style: PlanStyle, width: int, *, general: bool) -> Iterator[str]:
    if not len(plan.changes) or style.sent_by is None:
        return
    text = f"{style.sent_by} sends this plan"
    if not style.show_values and _has_values(plan):
        text += "; `--show-values` prints old and new values"
    if general:
        yield ""
    yield from wrap_marked("hint:", f"{text}.", width, Paint(on=style.color), color="cyan")


def _has_values(plan: Plan) -> bool:
    removals = {action.value for action in BY_RISK if MARKS[action] == "-"}
    return any(
        name not in removals and number
        for totals in (c.by_action for c in plan.counts)
        for name, number in totals.items()
    )
