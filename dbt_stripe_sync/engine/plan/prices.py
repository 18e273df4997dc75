"""What a plan knows of the prices that rows name: those that it creates, and those that earlier runs have created.

Stripe refuses a one-time price on a subscription, a recurring one on an invoice item, and a quantity of a metered one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from dbt_stripe_sync.model.change import Action, Change, Ref
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.objects import object_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.decide.rules import Rules
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.lifecycle import PriceKind

# What is remembered at once, so that memory does not grow with the table: past it a row is left to Stripe to refuse.
MOST_REMEMBERED = 50_000
# An object, by its id or as one that this plan makes.
Named: TypeAlias = "str | Ref"
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Price(NamedTuple):
    """A price's currency and kind, None where they are not known. What can change of it is known of a new one alone."""

    currency: str | None = None
    is_recurring: bool | None = None
    is_metered: bool | None = None
    is_active: bool | None = None


class _Wrong(NamedTuple):
    """What is wrong with a row's prices, or with the parameter that stands beside them."""

    parameter: str
    summary: str
    hint: str
    source: str


_ACTIVE = "docs.stripe.com/api/prices/update#update_price-active"
_KINDS = ("one-time", "recurring")
_UNKNOWN = Price()


@dataclass(slots=True, kw_only=True)
class Prices:
    """Prices by the row that creates one, or by the id of one that exists. Each is looked up once."""

    workspace: Workspace
    known: dict[Named, Price] = field(default_factory=dict)

    def note(self, change: Change) -> None:
        """Remember a price that this plan creates."""
        if change.resource == "price" and change.action is Action.CREATE:
            desired = change.desired
            recurring = desired.get("recurring")
            price = Price(
                currency=lower_text(desired.get("currency")),
                is_recurring=bool(recurring),
                is_metered=isinstance(recurring, dict) and recurring.get("usage_type") == "metered",
                is_active=desired.get("active") is not False,
            )
            remember(self.known, Ref(sync=change.sync, key=change.key), price)

    def find(self, price: Named) -> Price:
        """What is known of a price."""
        if price in self.known:
            return self.known[price]
        return remember(self.known, price, self._recorded(price) if isinstance(price, str) else _UNKNOWN)

    def _recorded(self, stripe_id: str) -> Price:
        rows = self.workspace.all(
            "SELECT json_extract_string(params, '$.currency'), json_exists(params, '$.recurring'), "
            "json_extract_string(params, '$.recurring.usage_type'), "
            "coalesce(adopted, false) OR salt IS NOT NULL FROM known_records "
            "WHERE resource = 'price' AND stripe_id = $id",
            {"id": stripe_id},
        )
        if not rows:
            return _UNKNOWN
        currency, is_recurring, usage, is_hidden = rows[0]
        # An adopted price may be recurring without its sync saying so.
        if is_hidden:
            return Price(currency=lower_text(currency))
        return Price(
            currency=lower_text(currency), is_recurring=bool(is_recurring), is_metered=lower_text(usage) == "metered"
        )

    def find_wrong(self, rules: Rules, change: Change) -> Problem | None:
        """What is wrong where a row names a price that Stripe does not take there, or not beside what the row has."""
        rule = rules.lifecycle.price_kind
        if rule is None or change.action not in {Action.CREATE, Action.UPDATE, Action.REPLACE}:
            return None
        named = [(beside, self.find(price)) for beside, price in _prices_at(change.desired, rule.path)]
        wrong = next(chain(_wrong_prices(rule, named), _wrong_beside(rule, change.desired, named)), None)
        if wrong is None:
            return None
        return Problem(
            code="stripe-rule",
            summary=wrong.summary,
            where=rules.sync.where.at_field("fields", wrong.parameter),
            hint=f"{wrong.hint}; the rule is from: {wrong.source}",
        )


def _wrong_prices(rule: PriceKind, named: Sequence[tuple[Mapping[str, Any], Price]]) -> Iterator[_Wrong]:
    parameter = rule.path.partition("[")[0]
    for beside, price in named:
        wanted, kind = rule.is_recurring, price.is_recurring
        if wanted is not None and kind is not None and kind is not wanted:
            yield _Wrong(
                parameter,
                f"`{rule.path}` is a {_KINDS[kind]} price, and Stripe accepts only {_KINDS[wanted]} prices there",
                f"refer to a {_KINDS[wanted]} price: one is recurring if its sync maps `recurring.interval`",
                rule.source,
            )
        if price.is_active is False:
            yield _Wrong(
                parameter,
                f"`{rule.path}` is an archived price, and Stripe accepts only active prices there",
                "refer to an active price",
                _ACTIVE,
            )
        if rule.no_quantity is not None and price.is_metered and beside.get("quantity") is not None:
            yield _Wrong(
                parameter,
                "`quantity` can't be set for a metered price: its usage is counted",
                "leave `quantity` null for it",
                rule.no_quantity,
            )


def _wrong_beside(
    rule: PriceKind, desired: Mapping[str, Any], named: Sequence[tuple[Mapping[str, Any], Price]]
) -> Iterator[_Wrong]:
    kinds = {price.is_recurring for _, price in named}
    has_others = any(beside.get("price") is None for beside in _entries(desired, rule.path))
    if True in kinds:
        unfit, words = rule.one_time_only, "can't be set with a recurring price"
    elif kinds == {False} and not has_others:
        unfit, words = rule.recurring_only, "requires a recurring price, and the row has none"
    else:
        return
    for path in unfit:
        if object_value(desired, path) not in (None, "", False):
            yield _Wrong(path, f"`{path}` {words}", f"leave `{path}` null for it", rule.source)


def remember(values: dict[_Key, _Value], key: _Key, value: _Value) -> _Value:
    """What is remembered for a key, the value itself where nothing was; the oldest is forgotten for it."""
    if key not in values and len(values) >= MOST_REMEMBERED:
        del values[next(iter(values))]
    return values.setdefault(key, value)


def lower_text(value: Any) -> str | None:
    """A text as Stripe writes currencies, None for anything else."""
    return value.lower() if isinstance(value, str) and value else None


def _entries(desired: Mapping[str, Any], path: str) -> Iterator[Mapping[str, Any]]:
    """The hashes that a path leads to a price in, where `[]` stands for each entry of a list."""
    level: list[Any] = [desired]
    for step in path.replace("[]", ".[]").split(".")[:-1]:
        if step == "[]":
            level = [part for value in level if isinstance(value, list) for part in value]
        else:
            level = [value.get(step) for value in level if isinstance(value, dict)]
    yield from (value for value in level if isinstance(value, dict))


def _prices_at(desired: Mapping[str, Any], path: str) -> Iterator[tuple[Mapping[str, Any], Named]]:
    """The prices at a path, each with what stands beside it."""
    name = path.rpartition(".")[2]
    for beside in _entries(desired, path):
        price = beside.get(name)
        if isinstance(price, str | Ref):
            yield beside, price
