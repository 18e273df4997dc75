"""Checks that a plan shows everything that it sends: every parameter of every call, as text and as Markdown."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dbt_stripe_sync.model.change import Fingerprint, Ref
from dbt_stripe_sync.model.plan import SyncCounts
from dbt_stripe_sync.report import plan_markdown, plan_text
from dbt_stripe_sync.report.lines import plain
from dbt_stripe_sync.report.plan_text import PlanStyle
from dbt_stripe_sync.report.redact import HIDDEN_SECRET, NOT_KEPT, hide_secrets, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.plan import Plan

# Plans of more changes are made by tests of size, which say nothing of single parameters.
MOST_CHANGES = 200
# A part begins at this indentation; what is indented further belongs to the one before.
_PART = re.compile(r" {6}\S")
_SPACE = re.compile(r"\s+")


@dataclass
class OneChange:
    """`Changes` of a plan that has one alone."""

    change: Change

    def __iter__(self) -> Iterator[Change]:
        yield self.change

    def __len__(self) -> int:
        return 1

    def of(self, sync: str) -> Iterator[Change]:
        if sync == self.change.sync:
            yield self.change


def unshown(plan: Plan) -> list[str]:
    """What the calls of a plan send and the plan does not show."""
    if len(plan.changes) > MOST_CHANGES:
        return []
    return [
        f"{change.id}: {call.operation} sends {path}={value!r}, and {where} does not show it"
        for change in plan.changes
        for where, parts in shown_parts(plan, change)
        for call in change.calls
        for path, value in leaves(call.params)
        if not is_shown(path, as_text(path, value), parts)
    ]


def waits_for_ever(plan: Plan) -> list[str]:
    """Changes that wait for one that the plan doesn't have."""
    if len(plan.changes) > MOST_CHANGES:
        return []
    every = {change.id for change in plan.changes}
    return [
        f"{change.id} waits for {other}, which is not in the plan"
        for change in plan.changes
        for other in change.depends_on
        if other not in every
    ]


def shown_parts(plan: Plan, change: Change) -> Iterator[tuple[str, list[str]]]:
    """The parts that are shown of a change, each without spaces and line breaks."""
    counts = SyncCounts(
        sync=change.sync, model=change.sync, resource=change.resource, rows=1, by_action={change.action.value: 1}
    )
    alone = replace(plan, changes=OneChange(change), counts=(counts,), problems=())
    style = PlanStyle(show_values=True, width=80)
    yield "the text", list(joined(plan_text.render_plan(alone, style=style)))
    markdown = list(plan_markdown.render_plan(alone, style=style))
    if not any("longer than a comment may be" in line for line in markdown):
        yield "the Markdown", list(joined(markdown))


def joined(lines: Iterator[str] | list[str]) -> Iterator[str]:
    part = ""
    for line in lines:
        if not line.startswith(" " * 6) or _PART.match(line):
            yield _SPACE.sub("", part)
            part = ""
        part += line
    yield _SPACE.sub("", part)


def is_shown(path: str, value: str, parts: list[str]) -> bool:
    name, text = (re.escape(_fenced(_SPACE.sub("", part))) for part in (plain(path), value))
    field = re.compile(rf"{name}:?(?:.*->)?{text}(?:\(.*\))?")
    sent = re.compile(rf"(?:with|,){name}={text}(?:$|,|\()")
    return any(field.fullmatch(part) or sent.search(part) for part in map(_fenced, parts))


def _fenced(text: str) -> str:
    """Text as it is in Markdown, where it must not end its block."""
    return text.replace("```", "'''")


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every parameter by its path. Written once more, so that a fault of the report's own walk is seen."""
    if isinstance(value, dict) and (value or not path):
        for name, part in value.items():
            yield from leaves(part, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def as_text(path: str, value: Any) -> str:
    parent, name = ["", "", *path.split(".")][-2:]
    if isinstance(value, Ref):
        return f"<id of {plain(value.sync)} [{plain(value.key)}]>"
    if isinstance(value, Fingerprint):
        return NOT_KEPT
    if value == "":
        return "(cleared)"
    if is_secret(name, parent):
        return HIDDEN_SECRET
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        known = [as_text("", part) if isinstance(part, Ref | Fingerprint) else hide_secrets(part) for part in value]
        return plain(json.dumps(known if isinstance(value, list) else value, ensure_ascii=False))
    text = plain(str(hide_secrets(value)))
    return f'"{text}"' if text != text.strip() else text
