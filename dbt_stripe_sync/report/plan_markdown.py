"""Renders a plan as Markdown for a comment on a pull request: the sums, then the changes in a folded section."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Severity
from dbt_stripe_sync.report.alike import Alike, mask_ids, pick_alike
from dbt_stripe_sync.report.call_text import render_calls
from dbt_stripe_sync.report.lines import cut, plain
from dbt_stripe_sync.report.owed_text import describe_owed, explain_owed
from dbt_stripe_sync.report.plan_words import MARKS, actions_of, cost_of, detail_of, pick_drifted, place_of, sum_of
from dbt_stripe_sync.report.price_moves import find_price_moves, render_price_moves
from dbt_stripe_sync.report.problems_text import group_problems, render_keys
from dbt_stripe_sync.report.value_text import render_drifted, render_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dbt_stripe_sync.model.plan import DriftedObject, Plan, SyncCounts
    from dbt_stripe_sync.report.plan_text import PlanStyle
    from dbt_stripe_sync.report.problems_text import ProblemGroup

# GitHub rejects comments of more than 65,536 characters, so long values and lists are cut before that.
MOST_CHARACTERS = 60_000
LONGEST_VALUE = 200
MOST_PROBLEMS = 20
SHOWN_KEYS = 3
FENCE = "```diff"
FENCE_END = "```"
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&])")
# GitHub notifies a name after an at sign, except in code or after this character.
_NO_MENTION = "@\u200b"


def render_plan(plan: Plan, *, style: PlanStyle) -> Iterator[str]:
    """The plan as GitHub-flavored Markdown. It is shortened, with a note, if it is too long for a comment."""
    left = MOST_CHARACTERS
    in_fence = False
    for line in _lines(plan, style):
        # A character in a row's value can take several bytes, and some hosts count bytes.
        left -= len(line.encode()) + 1
        if left < 0:
            yield FENCE_END if in_fence else ""
            yield ""
            yield "… the plan is longer than a comment may be: `dbt-stripe-sync plan` prints the rest."
            return
        in_fence = line == FENCE or (in_fence and line != FENCE_END)
        yield line


def _lines(plan: Plan, style: PlanStyle) -> Iterator[str]:
    yield f"### Stripe: {sum_of(plan)}"
    yield ""
    yield f"{cost_of(plan, style.calls_per_second)} {_escaped(_capital(place_of(plan)))}."
    yield ""
    yield "| sync | resource | rows | changes | rejected |"
    yield "| --- | --- | ---: | --- | ---: |"
    for counts in plan.counts:
        yield _table_row(counts)
    yield ""
    moves = list(render_price_moves(find_price_moves(plan), with_amounts=style.show_values or style.show_amounts))
    yield from (f"- **Price change** {_escaped(line)}" for line in moves)
    if moves:
        yield ""
    for step in plan.owed[:MOST_PROBLEMS]:
        yield f"- **Owed** {_escaped(describe_owed(step))}  "
        yield f"  {_escaped(explain_owed(step, with_values=style.show_values))}"
    yield from _problems(group_problems(plan.problems))
    drifted = pick_drifted(plan, style.most_rows) if style.show_values else {}
    for counts in plan.counts:
        yield from _sync(plan, counts, style)
        yield from _drifted(counts, drifted.get(counts.sync, ()))


def _table_row(counts: SyncCounts) -> str:
    changes = ", ".join(f"{number:,} {word}" for _, number, word in actions_of(counts)) or "—"
    if counts.held is not None:
        changes = f"**held back**: {_escaped(counts.held)}"
    cells = (_escaped(counts.sync), _escaped(counts.resource), f"{counts.rows:,}", changes, f"{counts.rejected:,}")
    return f"| {' | '.join(cells)} |"


def _problems(groups: list[ProblemGroup]) -> Iterator[str]:
    for group in groups[:MOST_PROBLEMS]:
        problem = group.first
        rows = f" ({counted(group.rows, 'row')}: `{_in_code(render_keys(group))}`)" if group.rows else ""
        word = "Error" if problem.severity is Severity.ERROR else "Warning"
        yield f"- **{word}** {_escaped(problem.code)}: {_escaped(problem.summary)}{rows}  "
        if place := str(problem.where if not group.rows else problem.where.file or problem.where.model or ""):
            yield f"  at {_escaped(place)}  "
        if problem.hint:
            yield f"  hint: {_escaped(problem.hint)}"
    if len(groups) > MOST_PROBLEMS:
        yield f"- … and {counted(len(groups) - MOST_PROBLEMS, 'more problem')}"
    if groups:
        yield ""


def _sync(plan: Plan, counts: SyncCounts, style: PlanStyle) -> Iterator[str]:
    total = sum(counts.by_action.values())
    if not total:
        return
    yield f"<details><summary>{_escaped(counts.sync)}: {counted(total, 'change')}</summary>"
    yield ""
    yield FENCE
    hidden = 0
    picked: Iterable[Alike] = (Alike(changes=[change], rows=1) for change in plan.changes.of(counts.sync))
    if not style.all_rows:
        picked, hidden = pick_alike(plan.changes, counts, style.most_rows, with_values=style.show_values)
    for entry in picked:
        yield from _entry(entry, show_values=style.show_values)
    yield FENCE_END
    yield ""
    if hidden > 0:
        yield f"… and {hidden:,} more."
        yield ""
    for note in counts.notes:
        yield f"Note: {_escaped(str(note))}"
        yield ""
    yield "</details>"
    yield ""


def _drifted(counts: SyncCounts, drifted: Sequence[DriftedObject]) -> Iterator[str]:
    """What others have changed in Stripe: the row's values, then Stripe's."""
    if not drifted:
        return
    yield f"<details><summary>{_escaped(counts.sync)}: {counted(len(drifted), 'object')} changed in Stripe</summary>"
    yield ""
    yield FENCE
    for entry in drifted:
        yield _fenced(f"! {entry.key}  {entry.stripe_id}{f'  {entry.author}' if entry.author else ''}")
        for part in render_drifted(entry):
            yield _fenced(f"      {part.path}: {cut(part.before, LONGEST_VALUE)} -> {cut(part.after, LONGEST_VALUE)}")
    yield FENCE_END
    yield ""
    yield "</details>"
    yield ""


def _entry(entry: Alike, *, show_values: bool) -> Iterator[str]:
    """A change, or many similar ones, as a line of a diff: hosts color lines that begin with `+`, `-` and `!`."""
    change, detail = entry.first, detail_of(entry.first)
    mark = {"~": "!", "±": "!"}.get(MARKS[change.action], MARKS[change.action])
    if entry.rows > 1:
        keys = ", ".join(f"[{other.key}]" for other in entry.changes[:SHOWN_KEYS])
        parts = [f"{entry.rows:,} rows alike ({keys} …)", mask_ids(detail)]
    else:
        parts = [change.key, change.stripe_id or "", detail]
    yield _fenced(f"{mark} {'  '.join(part for part in parts if part)}")
    if not show_values:
        return
    fields = list(render_parts(change))
    for part in fields:
        # New values are shown in full; of old values, a part is enough.
        new, old = part.after, cut(part.before, LONGEST_VALUE)
        yield _fenced(f"      {part.path}: {new if change.action is Action.CREATE else f'{old} -> {new}'}")
    for call in render_calls(change, [(part.path, part.after) for part in fields]):
        yield _fenced(f"      {mask_ids(call) if entry.rows > 1 else call}")


def _fenced(line: str) -> str:
    """A line that can't end the code fence around it."""
    return plain(line).replace("```", "'''")


def _escaped(text: str) -> str:
    """A text that Markdown shows literally: no link, no mention, no HTML. Code in backticks stays code."""
    parts = plain(text).replace("@", _NO_MENTION).split("`")
    if len(parts) % 2 == 0:
        return _SPECIAL.sub(r"\\\1", "`".join(parts))
    return "".join(
        f"`{part}`".replace("|", "\\|") if index % 2 else _SPECIAL.sub(r"\\\1", part)
        for index, part in enumerate(parts)
    )


def _in_code(text: str) -> str:
    return text.replace("`", "'").replace("|", "\\|")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
