"""Checks Stripe's rules for all rows of one parent together: how many there may be, and in which currency."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import reject
from dbt_stripe_sync.engine.plan.prices import MOST_REMEMBERED, Named, Prices, lower_text, remember
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.change import Action, Change, Ref
from dbt_stripe_sync.model.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dbt_stripe_sync.engine.decide.rules import Decision, Rules
    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.foreseen import AtMost, OneCurrency
    from dbt_stripe_sync.model.params import Catalog

# What fixes a customer's currency while it exists, according to Stripe's docs and statements (see `rules.counts`).
CURRENCY_HOLDERS = ("subscription",)


class _Recorded(NamedTuple):
    """An object of an earlier run, its row, and its currency according to its record."""

    resource: str
    stripe_id: str
    row: tuple[str, str]
    currency: str | None


@dataclass(slots=True, kw_only=True)
class ParentLimits:
    """What one plan has created so far for each parent.

    `counted` has the resources whose objects of earlier runs are in `counts`. `earlier` has the row of an earlier run's
    object that fixes a customer's currency, or None.
    """

    workspace: Workspace
    stripe: Stripe
    catalog: Catalog
    counted: set[str] = field(default_factory=set)
    counts: dict[tuple[str, Named], int] = field(default_factory=dict)
    currencies: dict[Named, str] = field(default_factory=dict)
    earlier: dict[tuple[str, str], tuple[str, str] | None] = field(default_factory=dict)
    prices: Prices = field(init=False)

    def __post_init__(self) -> None:
        self.prices = Prices(workspace=self.workspace, stripe=self.stripe)

    async def look_back(self, rules: Rules, decisions: Iterable[Decision]) -> None:
        """Find the prices that some changes name, and earlier objects of their customers in another currency.

        An object with such a record is read, since it may have ended. If a read fails, Stripe decides. Raises
        `ReadLimitError`.
        """
        decisions = list(decisions)
        await self.prices.look_at(rules, decisions)
        rule = rules.lifecycle.one_currency
        if rule is None:
            return
        wanted: dict[tuple[str, str], None] = {}
        for change in decisions:
            is_new = isinstance(change, Change) and change.action is Action.CREATE
            customer = change.desired.get("customer") if isinstance(change, Change) and is_new else None
            if not isinstance(change, Change) or not isinstance(customer, str):
                continue
            if rule.unless is not None and change.desired.get(rule.unless) is not None:
                continue
            currency = self._currency_of(rule, change.desired)
            if currency is not None and (customer, currency) not in self.earlier:
                wanted[customer, currency] = None
        if not wanted:
            return
        recorded = self._recorded([customer for customer, _ in wanted])
        for customer, currency in wanted:
            remember(self.earlier, (customer, currency), await self._holder(recorded.get(customer, ()), currency))

    def _recorded(self, customers: Sequence[str]) -> Mapping[str, Sequence[_Recorded]]:
        """The objects of some customers whose status shows whether they have ended, from their records."""
        names = [name for name in CURRENCY_HOLDERS if self.catalog.resources[name].lifecycle.ended]
        rows = self.workspace.all(
            "SELECT json_extract_string(params, '$.customer') AS customer, resource, stripe_id, sync, key, params "
            "FROM known_records WHERE resource IN (SELECT unnest($names)) AND NOT removed AND NOT missing "
            "AND salt IS NULL AND customer IN (SELECT unnest($customers))",
            {"names": names, "customers": list(dict.fromkeys(customers))},
        )
        found: defaultdict[str, list[_Recorded]] = defaultdict(list)
        for customer, resource, stripe_id, sync, key, params in rows:
            rule = self.catalog.resources[resource].lifecycle.one_currency
            if rule is not None:
                currency = self._currency_of(rule, orjson.loads(params))
                found[customer].append(_Recorded(resource, stripe_id, (sync, key), currency))
        return found

    async def _holder(self, recorded: Sequence[_Recorded], currency: str) -> tuple[str, str] | None:
        for other in recorded:
            if other.currency in {None, currency}:
                continue
            answer = await self.stripe.send(Call(resource=other.resource, operation="retrieve", target=other.stripe_id))
            ended = self.catalog.resources[other.resource].lifecycle.ended
            is_there = answer.verdict is Verdict.DONE and not answer.is_missing
            if is_there and answer.body.get("status") not in ended and answer.body.get("currency") != currency:
                return other.row
        return None

    def check(self, rules: Rules, key: str, decision: Decision) -> Decision:
        """The same decision, or a rejection: too many objects, another currency, or an unsuitable price."""
        if not isinstance(decision, Change):
            return decision
        self.prices.note(decision)
        wrong = self.prices.find_problem(rules, decision)
        if wrong is not None:
            return reject(replace(wrong, where=wrong.where.at_key(key)))
        if decision.action is not Action.CREATE:
            return decision
        problem = self._other_currency(rules, decision) or self._too_many(rules, decision)
        return decision if problem is None else reject(replace(problem, where=problem.where.at_key(key)))

    def _too_many(self, rules: Rules, change: Change) -> Problem | None:
        rule = rules.lifecycle.at_most
        parent = change.desired.get(rule.parent) if rule is not None else None
        if rule is None or not isinstance(parent, str | Ref):
            return None
        place = (change.resource, parent)
        if change.resource not in self.counted:
            self.counted.add(change.resource)
            self.counts |= self._earlier(change.resource, rule)
        remember(self.counts, place, 0)
        if self.counts[place] >= rule.most:
            return self._problem(
                rules,
                rule.parent,
                f"`{rule.parent}` has {rule.most:,} of these with the rows before this one, and Stripe accepts no more",
                f"use another {rule.parent} for the rows beyond that; see {rule.source}",
            )
        self.counts[place] += 1
        return None

    def _earlier(self, resource: str, rule: AtMost) -> dict[tuple[str, Named], int]:
        """How many objects each parent has in the state; if there are too many parents, only those with the most."""
        if not rule.with_earlier:
            return {}
        rows = self.workspace.all(
            "SELECT json_extract_string(params, $path) AS parent, count(*) FROM known_records "
            "WHERE resource = $resource AND NOT removed GROUP BY parent HAVING parent IS NOT NULL "
            "ORDER BY count(*) DESC LIMIT $most",
            {"resource": resource, "path": f"$.{rule.parent}", "most": MOST_REMEMBERED // 2},
        )
        return {(resource, str(parent)): int(count) for parent, count in rows}

    def _other_currency(self, rules: Rules, change: Change) -> Problem | None:
        rule, customer = rules.lifecycle.one_currency, change.desired.get("customer")
        if rule is None or not isinstance(customer, str | Ref):
            return None
        if rule.unless is not None and change.desired.get(rule.unless) is not None:
            return None
        currency = self._currency_of(rule, change.desired)
        if currency is None:
            return None
        row = self.earlier.get((customer, currency)) if isinstance(customer, str) else None
        if row is not None and row != (change.sync, change.key):
            return self._problem(
                rules,
                "customer",
                f"row [{row[1]}] of `{row[0]}` has the same `customer` in another currency, and Stripe accepts one for "
                "all that a customer has",
                f"use a customer for each currency, or end the other one first; see {rule.source}",
            )
        if remember(self.currencies, customer, currency) == currency:
            return None
        return self._problem(
            rules,
            "customer",
            "`customer` gets a second currency in this plan, and Stripe accepts one for all that a customer has",
            f"use a customer for each currency; see {rule.source}",
        )

    def _currency_of(self, rule: OneCurrency, desired: Mapping[str, Any]) -> str | None:
        own = lower_text(desired.get("currency"))
        if own is not None or rule.prices is None:
            return own
        items = _at(desired, rule.prices)
        first = items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else {}
        described = first.get("price_data")
        if isinstance(described, dict):
            return lower_text(described.get("currency"))
        price = first.get("price")
        return self.prices.find(price).currency if isinstance(price, str | Ref) else None

    @staticmethod
    def _problem(rules: Rules, name: str, summary: str, hint: str) -> Problem:
        return Problem(code="stripe-rule", summary=summary, where=rules.sync.where.at_field("fields", name), hint=hint)


def _at(value: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(value, list):
            value = value[int(step)] if len(value) > int(step) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value
