"""Computes what replaced prices do to subscriptions: how many move, old and new amounts, and proration."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.model.change import Action, Fingerprint, Ref
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.money import MoneyError, exponent_of, to_major_units
from dbt_stripe_sync.model.nested import leaves
from dbt_stripe_sync.report.lines import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.plan import Plan

# The resources whose rows pay the prices that their `items` name, or that they name themselves.
_PAYING = frozenset({"subscription", "subscription_item"})
# docs.stripe.com/billing/subscriptions/prorations: the default, and what each value does.
DEFAULT_PRORATION = "create_prorations"
PRORATIONS = {
    "create_prorations": "the difference for the rest of the current period goes on the next invoice",
    "always_invoice": "the difference for the rest of the current period is invoiced immediately",
    "none": "nothing is charged or credited for the current period",
}
# How many months a period of each interval has: a year has 365 days, and a month a twelfth of them.
_MONTHS = {"day": Decimal(12) / 365, "week": Decimal(84) / 365, "month": Decimal(1), "year": Decimal(12)}


class NewPrice(Struct, frozen=True, kw_only=True):
    """A price that a plan replaces. Amounts are in the currency's smallest unit; None if they are not known."""

    key: str
    old_id: str | None
    currency: str | None
    before: Decimal | None
    after: Decimal | None
    interval: str | None
    count: int


class PriceMove(Struct, kw_only=True):
    """Subscriptions that one replaced price moves, all with the same `proration`. `quantity` adds up their units."""

    price: NewPrice
    sync: str
    proration: str
    is_default: bool
    subscriptions: int = 0
    quantity: int = 0

    @property
    def monthly(self) -> Decimal | None:
        """The increase for all of them together per month, in the smallest unit."""
        price = self.price
        if price.before is None or price.after is None or price.interval not in _MONTHS:
            return None
        return (price.after - price.before) * self.quantity / (_MONTHS[price.interval] * price.count)


def find_price_moves(plan: Plan) -> list[PriceMove]:
    """Every replaced price with the subscriptions that this plan moves from the old one to the new one."""
    replaced = {
        Ref(sync=change.sync, key=change.key): _new_price(change)
        for counts in plan.counts
        if counts.resource == "price" and counts.by_action.get(Action.REPLACE.value)
        for change in plan.changes.of(counts.sync)
        if change.action is Action.REPLACE
    }
    moves: dict[tuple[Ref, str, str, bool], PriceMove] = {}
    for counts in plan.counts if replaced else ():
        if counts.resource not in _PAYING or not counts.by_action.get(Action.UPDATE.value):
            continue
        for change in plan.changes.of(counts.sync):
            if change.action is Action.UPDATE:
                _count(change, replaced, moves)
    return list(moves.values())


def render_price_moves(moves: list[PriceMove], *, with_amounts: bool) -> Iterator[str]:
    """The moves as lines: one for each price and proration, then the total of each currency."""
    for move in moves:
        price = move.price
        what = f"price [{plain(price.key)}]"
        if with_amounts and price.before is not None and price.after is not None and price.currency:
            old, new = (_money(amount, price.currency) for amount in (price.before, price.after))
            what += f" {old} -> {new}{_period(price)}"
        units = f", {counted(move.quantity, 'unit')}" if move.quantity != move.subscriptions else ""
        default = ", Stripe's default" if move.is_default else ""
        yield (
            f"{what}: moves {counted(move.subscriptions, 'subscription')} of `{plain(move.sync)}`{units}; "
            f"`proration_behavior: {plain(move.proration)}`{default}"
            + (f": {PRORATIONS[move.proration]}" if move.proration in PRORATIONS else "")
        )
    yield from _totals(moves) if with_amounts else ()


def _totals(moves: list[PriceMove]) -> Iterator[str]:
    totals: dict[str, Decimal] = {}
    for move in moves:
        if move.monthly is not None and move.price.currency:
            totals[move.price.currency] = totals.get(move.price.currency, Decimal(0)) + move.monthly
    for currency, total in totals.items():
        sign = "+" if total > 0 else ""
        yield f"in total {sign}{_money(Decimal(round(total)), currency)} per month"


def json_price_move(move: PriceMove, *, with_amounts: bool) -> dict[str, Any]:
    """One move for programs; amounts are texts in the currency's smallest unit."""
    price = move.price
    amounts = {
        "currency": price.currency,
        "amount_before": None if price.before is None else str(price.before),
        "amount_after": None if price.after is None else str(price.after),
        "interval": price.interval,
        "interval_count": price.count,
        "monthly_difference": None if move.monthly is None else str(round(move.monthly, 2)),
    }
    return {
        "price": price.key,
        "sync": move.sync,
        "subscriptions": move.subscriptions,
        "quantity": move.quantity,
        "proration_behavior": move.proration,
        **(amounts if with_amounts else {}),
    }


def _new_price(change: Change) -> NewPrice:
    desired = change.desired
    name = "unit_amount_decimal" if "unit_amount_decimal" in desired else "unit_amount"
    after = desired.get(name)
    before = next((part.before for part in change.changed if part.path == name), after)
    moved_currency = any(part.path == "currency" for part in change.changed)
    recurring = desired.get("recurring") or {}
    interval = recurring.get("interval") if isinstance(recurring, dict) else None
    count = recurring.get("interval_count") if isinstance(recurring, dict) else None
    return NewPrice(
        key=change.key,
        old_id=change.stripe_id,
        currency=str(desired["currency"]) if isinstance(desired.get("currency"), str) else None,
        before=None if moved_currency else _number(before),
        after=_number(after),
        interval=interval if isinstance(interval, str) else None,
        count=count if isinstance(count, int) and count > 0 else 1,
    )


def _count(
    change: Change, replaced: Mapping[Ref, NewPrice], moves: dict[tuple[Ref, str, str, bool], PriceMove]
) -> None:
    given = next((c.params["proration_behavior"] for c in change.calls if "proration_behavior" in c.params), None)
    seen: set[Ref] = set()
    for item in _items(change.desired):
        ref = item.get("price")
        if not isinstance(ref, Ref) or ref not in replaced or not _had(change, replaced[ref].old_id):
            continue
        proration = str(given or DEFAULT_PRORATION)
        name = (ref, change.sync, proration, given is None)
        move = moves.setdefault(
            name, PriceMove(price=replaced[ref], sync=change.sync, proration=proration, is_default=given is None)
        )
        quantity = item.get("quantity")
        move.quantity += quantity if isinstance(quantity, int) else 1
        move.subscriptions += ref not in seen
        seen.add(ref)


def _items(params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    items = params.get("items")
    if isinstance(items, list | tuple):
        yield from (item for item in items if isinstance(item, dict))
    elif "price" in params:
        yield params


def _had(change: Change, old_id: str | None) -> bool:
    """Whether the row had the old price until now. A row with another price isn't moved by this replacement."""
    before = [part.before for part in change.changed if part.path.partition("[")[0] in {"items", "price"}]
    return any(_names(value, old_id) for value in before)


def _names(value: Any, id_: str | None) -> bool:
    return any(leaf == id_ or isinstance(leaf, Fingerprint) for leaf in leaves(value))


def _number(value: Any) -> Decimal | None:
    try:
        return Decimal(str(value)) if isinstance(value, int | str) else None
    except InvalidOperation:
        return None


def _money(amount: Decimal, currency: str) -> str:
    try:
        major, places = to_major_units(amount, currency), exponent_of(currency)
    except MoneyError:
        return f"{amount} {plain(currency.upper())}"
    own = major.normalize().as_tuple().exponent
    fine = min(-own, places + 4) if isinstance(own, int) else places
    return f"{round(major, max(places, fine)):,.{max(places, fine)}f} {currency.upper()}"


def _period(price: NewPrice) -> str:
    if price.interval is None:
        return ""
    return f" per {price.interval}" if price.count == 1 else f" every {price.count} {price.interval}s"
