"""What a plan knows of the prices that rows name: those that it creates, and those that earlier runs have created.

Stripe refuses a one-time price on a subscription, and a recurring one on an invoice item.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from dbt_stripe_sync.model.change import Action, Change, Ref
from dbt_stripe_sync.model.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.engine.decide.rules import Rules
    from dbt_stripe_sync.engine.stage.workspace import Workspace

# What is remembered at once, so that memory does not grow with the table: past it a row is left to Stripe to refuse.
MOST_REMEMBERED = 50_000
# An object, by its id or as one that this plan makes.
Named: TypeAlias = "str | Ref"
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Price(NamedTuple):
    """A price's currency and kind, None where they are not known."""

    currency: str | None
    is_recurring: bool | None


_UNKNOWN = Price(currency=None, is_recurring=None)


@dataclass(slots=True, kw_only=True)
class Prices:
    """Prices by the row that creates one, or by the id of one that exists. Each is looked up once."""

    workspace: Workspace
    known: dict[Named, Price] = field(default_factory=dict)

    def note(self, change: Change) -> None:
        """Remember a price that this plan creates."""
        if change.resource == "price" and change.action is Action.CREATE:
            desired = change.desired
            price = Price(currency=lower_text(desired.get("currency")), is_recurring=bool(desired.get("recurring")))
            remember(self.known, Ref(sync=change.sync, key=change.key), price)

    def find(self, price: Named) -> Price:
        """What is known of a price."""
        if price in self.known:
            return self.known[price]
        return remember(self.known, price, self._recorded(price) if isinstance(price, str) else _UNKNOWN)

    def _recorded(self, stripe_id: str) -> Price:
        rows = self.workspace.all(
            "SELECT json_extract_string(params, '$.currency'), json_exists(params, '$.recurring'), "
            "coalesce(adopted, false) OR salt IS NOT NULL FROM known_records "
            "WHERE resource = 'price' AND stripe_id = $id",
            {"id": stripe_id},
        )
        if not rows:
            return _UNKNOWN
        currency, is_recurring, is_hidden = rows[0]
        # An adopted price may be recurring without its sync saying so.
        return Price(currency=lower_text(currency), is_recurring=None if is_hidden else bool(is_recurring))

    def find_wrong_kind(self, rules: Rules, change: Change) -> Problem | None:
        """What is wrong where a row names a price of a kind that Stripe does not take there."""
        rule = rules.lifecycle.price_kind
        if rule is None or change.action not in {Action.CREATE, Action.UPDATE, Action.REPLACE}:
            return None
        for price in _prices_at(change.desired, tuple(rule.path.replace("[]", ".[]").split("."))):
            is_recurring = self.find(price).is_recurring
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


def remember(values: dict[_Key, _Value], key: _Key, value: _Value) -> _Value:
    """What is remembered for a key, the value itself where nothing was; the oldest is forgotten for it."""
    if key not in values and len(values) >= MOST_REMEMBERED:
        del values[next(iter(values))]
    return values.setdefault(key, value)


def lower_text(value: Any) -> str | None:
    """A text as Stripe writes currencies, None for anything else."""
    return value.lower() if isinstance(value, str) and value else None


def _prices_at(value: Any, steps: tuple[str, ...]) -> Iterator[Named]:
    """The prices at a path, where `[]` stands for each entry of a list."""
    if not steps:
        if isinstance(value, str | Ref):
            yield value
    elif steps[0] == "[]":
        for part in value if isinstance(value, list) else ():
            yield from _prices_at(part, steps[1:])
    elif isinstance(value, dict):
        yield from _prices_at(value.get(steps[0]), steps[1:])
