"""Renders the calls of a change: everything that is sent and isn't already shown by its differing fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.change import Ref
from dbt_stripe_sync.report.lines import plain
from dbt_stripe_sync.report.value_text import render_parts, render_value, walk_params

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dbt_stripe_sync.model.change import Change, PlannedCall


def render_calls(change: Change, shown: Sequence[tuple[str, str]] | None = None) -> Iterator[str]:
    """One line like `create with metadata.plan=gold, …` for each call of a change, in the order in which they are sent.

    A parameter that the differing fields already show with the same value (`shown`, by path) is left out once. A
    change's only call is left out if nothing remains of it.
    """
    left = dict(shown if shown is not None else ((part.path, part.after) for part in render_parts(change)))
    for call in change.calls:
        sent = []
        for path, _, value in walk_params("", None, dict(call.params)) if call.params else ():
            text = render_value(path, value, change.desired)
            if left.get(path) == text:
                del left[path]
            else:
                sent.append(f"{plain(path)}={text}")
        if sent or len(change.calls) > 1:
            with_them = f" with {', '.join(sent)}" if sent else ""
            yield f"{call.operation}{_target_of(call, change)}{with_them}"


def _target_of(call: PlannedCall, change: Change) -> str:
    """The id that the call goes to, if the change doesn't show it."""
    if isinstance(call.target, Ref):
        return f" {render_value('', call.target, {})}"
    is_told = call.target is None or len(change.calls) == 1
    return "" if is_told else f" {plain(str(call.target))}"
