"""Checks a request against the rules, to find what Stripe would reject before it is sent."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from dbt_stripe_sync.model.violation import Violation
from dbt_stripe_sync.stripe_api.rules.catalog import rules_of
from dbt_stripe_sync.stripe_api.rules.rule import CREATE, Rule, Spot, steps_of
from dbt_stripe_sync.stripe_api.rules.shapes import Metadata
from dbt_stripe_sync.stripe_api.rules.texts import MaxCharacters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.model.params import Resource

# Checks that look at a single value, whatever else a request contains.
LIMITS = (MaxCharacters, Metadata)


def check_rules(  # noqa: PLR0913 - all that is known about a call, with defaults
    resource: Resource,
    operation: str,
    params: Mapping[str, Any],
    *,
    now: int | None = None,
    known: Mapping[str, Any] | None = None,
    whole: bool | None = None,
    guesses: bool = False,
    skips_limits: bool = False,
) -> Iterator[Violation]:
    """Yield every documented rule that a call's parameters break, in the order of the parameters.

    `now` is in Unix seconds; if it is None, times aren't checked. `known` is the object's current values, as far as
    they are known. `whole` says that the request is complete; by default, a creation is and an update isn't. `guesses`
    adds undocumented rules. `skips_limits` leaves out the limits of single values, in case they were checked before.
    """
    found: list[Violation] = []
    tree = _tree(resource, operation, guesses=guesses, skips_limits=skips_limits)
    if tree.rules or tree.below:
        is_whole = operation == CREATE if whole is None else whole
        about = Spot(around=(), path=(), now=now, known=known or {}, whole=is_whole)
        _walk(tree, dict(params), about, found)
    return iter(found)


class _Node(Struct):
    """A node in the tree of rules.

    If the only rule is the length of a text, `most` is its maximum number of characters.
    """

    rules: list[Rule] = field(default_factory=list)
    below: dict[str, _Node] = field(default_factory=dict)
    most: int | None = None

    def concerns(self, value: Any) -> bool:
        """Return whether there is anything to check in a value."""
        if self.most is not None and isinstance(value, str):
            return len(value) > self.most
        return bool(self.rules) or isinstance(value, dict | list)


@cache
def _tree(resource: Resource, operation: str, *, guesses: bool, skips_limits: bool) -> _Node:
    """Return the rules as a tree by the steps of their paths, so that a walk skips what has no rules."""
    root = _Node()
    for rule in rules_of(resource, operation):
        if (rule.source is None and not guesses) or (skips_limits and isinstance(rule.check, LIMITS)):
            continue
        node = root
        for step in steps_of(rule.path):
            node = node.below.setdefault(step, _Node())
        node.rules.append(rule)
    _note_lengths(root)
    return root


def _note_lengths(node: _Node) -> None:
    limits = [rule.check.most for rule in node.rules if isinstance(rule.check, MaxCharacters)]
    if limits and len(limits) == len(node.rules):
        node.most = min(limits)
    for inner in node.below.values():
        _note_lengths(inner)


def _walk(node: _Node, value: Any, spot: Spot, found: list[Violation]) -> None:
    """Check a value and everything in it. This runs for every parameter of every row."""
    if value is None or value == "":
        return
    for rule in node.rules:
        for fault in rule.check.find(value, spot):
            violation = Violation(
                path=(*spot.path, *fault.within),
                reason=fault.reason,
                message=fault.message,
                source=rule.source,
                code=fault.code,
                hint=fault.hint,
            )
            found.append(violation)
    if not node.below:
        return
    if isinstance(value, dict):
        others = node.below.get("*")
        for name, inner in value.items():
            child = node.below.get(name, others)
            if child is not None and child.concerns(inner):
                _walk(child, inner, spot.inside(name, value), found)
    elif isinstance(value, list) and "[]" in node.below:
        for index, inner in enumerate(value):
            _walk(node.below["[]"], inner, spot.inside(str(index)), found)
