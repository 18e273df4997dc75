"""Renders problems: what is wrong, where, and how to fix it. One paragraph covers all rows with the same cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Severity
from dbt_stripe_sync.report.lines import Paint, plain, wrap_marked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dbt_stripe_sync.model.errors import Problem

SHOWN_KEYS = 5
# The minimum width for the text after a mark.
NARROWEST = 20
_COLORS = {Severity.ERROR: "red", Severity.WARNING: "yellow"}


class ProblemGroup(Struct, kw_only=True):
    """The same problem, with the same code and location, of one or many rows. `first` represents all of them."""

    first: Problem
    keys: list[str] = field(default_factory=list)
    rows: int = 0
    varies: bool = False


def group_problems(problems: Iterable[Problem]) -> list[ProblemGroup]:
    """Problems of rows grouped by code and location, in the order in which they were found; others aren't grouped."""
    groups: dict[object, ProblemGroup] = {}
    for problem in problems:
        where = problem.where
        bare = replace(where, key=None)
        name = (problem.code, problem.severity, bare, None if where.key is not None else problem.summary)
        group = groups.setdefault(name, ProblemGroup(first=problem))
        if where.key is not None:
            group.rows += 1
            group.varies |= problem.summary != group.first.summary
            if len(group.keys) < SHOWN_KEYS:
                group.keys.append(where.key)
    return list(groups.values())


def render_problems(problems: Iterable[Problem], *, color: bool = False, width: int | None = None) -> Iterator[str]:
    """Problems for people, in the order in which they were found, wrapped if there is a `width`."""
    paint = Paint(on=color)
    for index, group in enumerate(group_problems(problems)):
        if index:
            yield ""
        yield from render_group(group, paint, width)


def render_group(group: ProblemGroup, paint: Paint, width: int | None = None) -> Iterator[str]:
    """One problem: what, where, which rows, what to do."""
    problem = group.first
    mark = f"{problem.severity.value}[{plain(problem.code)}]:"
    yield from _after(mark, plain(problem.summary), paint, _COLORS[problem.severity], width)
    where = problem.where if group.rows <= 1 else replace(problem.where, key=None)
    if place := plain(str(where)):
        yield f"  at {place}"
    if group.rows > 1:
        yield f"  in {counted(group.rows, 'row')}: {render_keys(group)}"
        if group.varies:
            yield f"  (the first line is about {plain(group.keys[0])}; the others differ in detail)"
    if problem.hint:
        yield ""
        yield from _after("hint:", plain(problem.hint), paint, "cyan", width)


def _after(mark: str, text: str, paint: Paint, color: str, width: int | None) -> Iterator[str]:
    """A text after its colored mark, wrapped to the width."""
    if width is None:
        yield f"{paint(mark[:-1], color)}: {text}"
    else:
        yield from wrap_marked(mark, text, max(width, len(mark) + NARROWEST), paint, color=color)


def render_keys(group: ProblemGroup) -> str:
    """The first keys, and how many more there are: `17, 18 and 1,204 more`."""
    more = group.rows - len(group.keys)
    return ", ".join(plain(key) for key in group.keys) + (f", and {more:,} more" if more else "")
