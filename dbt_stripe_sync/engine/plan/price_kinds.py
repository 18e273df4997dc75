"""Rows that name a price of the wrong kind: a one-time price on a subscription, a recurring one on an invoice item.

Stripe refuses them. A plan knows the kind of the prices that it creates, and of those that earlier runs have created.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.change import Action, Change, Ref
from dbt_stripe_sync.model.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.engine.decide.rules import Rules
    from dbt_stripe_sync.engine.stage.workspace import Workspace

# Memory does not grow with the table: past it a row is left to Stripe to refuse.
MOST_REMEMBERED = 50_000


@dataclass(slots=True, kw_only=True)
class PriceKinds:
    """Whether prices are recurring: by the row that creates one, or by the id of one that exists."""

    workspace: Workspace
    known: dict[str | Ref, bool | None] = field(default_factory=dict)

    def note(self, change: Change) -> None:
        """Remember the kind of a price that this plan creates."""
        if change.resource == "price" and change.action is Action.CREATE:
            self._remember(Ref(sync=change.sync, key=change.key), is_recurring=bool(change.desired.get("recurring")))

    def find_wrong(self, rules: Rules, change: Change) -> Problem | None:
        """What is wrong where a row names a price of a kind that Stripe does not take there."""
        rule = rules.lifecycle.price_kind
        if rule is None or change.action not in {Action.CREATE, Action.UPDATE, Action.REPLACE}:
            return None
        for price in _at(change.desired, tuple(rule.path.replace("[]", ".[]").split("."))):
            is_recurring = self._is_recurring(price)
            if is_recurring is not None and is_recurring is not rule.is_recurring:
                kinds = ("one-time", "recurring")
                return Problem(
                    code="stripe-rule",
                    summary=f"`{rule.path}` is a {kinds[is_recurring]} price, and Stripe accepts only "
                    f"{kinds[rule.is_recurring]} prices there",
                    where=rules.sync.where.at_field("fields", rule.path.partition("[")[0]),
                    hint=f"refer to a {kinds[rule.is_recurring]} price: one is recurring if its sync maps "
                    f"`recurring.interval`; the rule is from: {rule.source}",
                )
        return None

    def _is_recurring(self, price: str | Ref) -> bool | None:
        if price not in self.known and isinstance(price, str):
            # An adopted price may be recurring without its sync saying so.
            rows = self.workspace.all(
                "SELECT json_exists(params, '$.recurring') FROM known_records WHERE resource = 'price' "
                "AND stripe_id = $id AND NOT coalesce(adopted, false) AND salt IS NULL",
                {"id": price},
            )
            self._remember(price, is_recurring=bool(rows[0][0]) if rows else None)
        return self.known.get(price)

    def _remember(self, price: str | Ref, *, is_recurring: bool | None) -> None:
        if len(self.known) >= MOST_REMEMBERED:
            del self.known[next(iter(self.known))]
        self.known[price] = is_recurring


def _at(value: Any, steps: tuple[str, ...]) -> Iterator[str | Ref]:
    """The prices at a path, where `[]` stands for each entry of a list."""
    if not steps:
        if isinstance(value, str | Ref):
            yield value
    elif steps[0] == "[]":
        for part in value if isinstance(value, list) else ():
            yield from _at(part, steps[1:])
    elif isinstance(value, dict):
        yield from _at(value.get(steps[0]), steps[1:])
