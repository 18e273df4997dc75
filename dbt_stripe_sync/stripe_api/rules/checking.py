"""A request against the rules: what Stripe would refuse of it, known before it is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.violation import Violation
from dbt_stripe_sync.stripe_api.rules.catalogue import rules_of
from dbt_stripe_sync.stripe_api.rules.rule import Rule, Spot, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def check_rules(
    resource: str, operation: str, params: Mapping[str, Any], *, now: int | None = None, guesses: bool = False
) -> Iterator[Violation]:
    """Every documented rule that the parameters of a call break, in the order of the parameters.

    `now` is Unix seconds; without it no time is looked at. `guesses` adds the rules that nothing documents.
    """
    yield from _walk(_tree(resource, operation, guesses=guesses), params, (), (), now)


@dataclass(slots=True)
class _Node:
    rules: list[Rule] = field(default_factory=list)
    below: dict[str, _Node] = field(default_factory=dict)


@cache
def _tree(resource: str, operation: str, *, guesses: bool) -> _Node:
    """The rules by the steps of their paths, so that a request is walked once and only where it has something."""
    root = _Node()
    for rule in rules_of(resource, operation):
        if rule.source is None and not guesses:
            continue
        node = root
        for step in steps_of(rule.path):
            node = node.below.setdefault(step, _Node())
        node.rules.append(rule)
    return root


def _walk(
    node: _Node, value: Any, path: tuple[str, ...], around: tuple[Mapping[str, Any], ...], now: int | None
) -> Iterator[Violation]:
    if node.rules and value not in (None, ""):
        spot = Spot(around=around, path=path, now=now)
        for rule in node.rules:
            for fault in rule.check.find(value, spot):
                yield Violation(
                    path=(*path, *fault.within),
                    reason=fault.reason,
                    message=fault.message,
                    source=rule.source,
                    code=fault.code,
                    hint=fault.hint,
                )
    if not node.below:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            child = node.below.get(name) or node.below.get("*")
            if child is not None:
                yield from _walk(child, inner, (*path, name), (*around, value), now)
    elif isinstance(value, list) and "[]" in node.below:
        for index, inner in enumerate(value):
            yield from _walk(node.below["[]"], inner, (*path, str(index)), around, now)
