"""What a plan knows of the prices that rows name: those that it creates, and those that exist in Stripe.

Stripe rejects an archived price anywhere, a one-time price on a subscription, and a recurring price on an invoice item.
It also rejects prices in two currencies together, a quantity of a metered price, and a first bill after the first
period of its price.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from msgspec import Struct, field

from dbt_stripe_sync.engine.plan.reads import read_together
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.change import Action, Change, Ref
from dbt_stripe_sync.model.errors import Problem, ReadLimitError
from dbt_stripe_sync.model.nested import leaves
from dbt_stripe_sync.model.objects import object_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.decide.rules import Decision, Rules
    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.foreseen import PricesNamed

# The number of remembered prices, so that memory doesn't grow with the table. Past it, Stripe has to reject the row.
MOST_REMEMBERED = 50_000
# A plan reads at most this many prices. Stripe has to reject rows that name others.
MOST_LOOKED_AT = 1_000
# An object, as its id or as one that this plan creates.
Named: TypeAlias = "str | Ref"
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_PRICE = "price"
_OPTIONS = "currency_options"


class Price(NamedTuple):
    """A price, as far as it is known. `options` are the currencies that it can be paid in besides its own."""

    currency: str | None = None
    options: frozenset[str] | None = None
    is_recurring: bool | None = None
    is_metered: bool | None = None
    recurring: Mapping[str, Any] | None = None
    is_active: bool | None = None

    @property
    def currencies(self) -> frozenset[str] | None:
        """All currencies that it can be paid in; None if they aren't known."""
        return self.options | {self.currency} if self.currency is not None and self.options is not None else None


_UNKNOWN = Price()


class Prices(Struct, kw_only=True):
    """Prices by the row that creates one, or by the id of an existing one.

    Each is looked up once.

    `active` says which ids this plan archives or reactivates. `may_read` is None until a price was read, and false if
    the key lacks permission to read prices.
    """

    workspace: Workspace
    stripe: Stripe
    known: dict[Named, Price] = field(default_factory=dict)
    active: dict[Named, bool] = field(default_factory=dict)
    looked_at: set[str] = field(default_factory=set)
    may_read: bool | None = None

    def note(self, change: Change) -> None:
        """Note a price that this plan creates, archives or reactivates."""
        if change.resource != _PRICE:
            return
        for call in change.calls:
            if call.creates:
                remember(self.known, Ref(sync=change.sync, key=change.key), _as_asked(call.params))
            elif isinstance(call.target, str) and isinstance(call.params.get("active"), bool):
                self._note_active(call.target, call.params["active"])
        for step in change.owes:
            if step.resource == _PRICE and isinstance(step.params.get("active"), bool):
                self._note_active(step.target, step.params["active"])

    def _note_active(self, stripe_id: str, is_active: bool) -> None:  # noqa: FBT001 - the value, not a switch
        self.active.pop(stripe_id, None)
        remember(self.active, stripe_id, is_active)

    async def look_at(self, rules: Rules, decisions: Iterable[Decision]) -> None:
        """Read the prices in Stripe that some changes would newly name, as far as the remaining reads allow."""
        fresh = dict.fromkeys(
            price
            for change in decisions
            if isinstance(change, Change)
            for rule in rules.lifecycle.prices_named
            for price in _prices_to_see(change, rule)
            if isinstance(price, str) and price not in self.looked_at
        )
        room = min(MOST_LOOKED_AT - len(self.looked_at), self.stripe.reads_left)
        ids = list(fresh)[: int(max(0, room))]
        self.looked_at.update(ids)
        # Each retry of a request is another read.
        with suppress(ReadLimitError):
            if ids and self.may_read is None:
                await self._read_price(ids.pop())
            if self.may_read:
                await read_together(self._read_price(stripe_id) for stripe_id in ids)

    async def _read_price(self, stripe_id: str) -> None:
        call = Call(resource=_PRICE, operation="retrieve", target=stripe_id, params={"expand": [_OPTIONS]})
        answer = await self.stripe.send(call)
        self.may_read = not answer.fatal
        # If there is no answer or no such price, Stripe has to reject the row.
        if answer.verdict is Verdict.DONE and not answer.is_missing:
            self.known.pop(stripe_id, None)
            remember(self.known, stripe_id, _as_shown(answer.body))

    def find(self, price: Named) -> Price:
        """What is known of a price."""
        found = self.known.get(price)
        if found is None:
            found = remember(self.known, price, self._recorded(price) if isinstance(price, str) else _UNKNOWN)
        is_active = self.active.get(price)
        return found if is_active is None else found._replace(is_active=is_active)

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
        # An adopted price may be recurring even if its sync doesn't map that.
        if is_hidden:
            return Price(currency=lower_text(currency))
        return Price(
            currency=lower_text(currency), is_recurring=bool(is_recurring), is_metered=lower_text(usage) == "metered"
        )

    def find_problem(self, rules: Rules, change: Change) -> Problem | None:
        """The problem of a row that names a price where Stripe doesn't accept it."""
        if change.removed:
            return None
        for rule in rules.lifecycle.prices_named:
            problem = (
                self._wrong_price(rules, change, rule)
                or self._two_currencies(rules, change, rule)
                or self._conflict_with_price(rules, change, rule)
            )
            if problem is not None:
                return problem
        return self._late_first_bill(rules, change) if change.action is Action.CREATE else None

    def _wrong_price(self, rules: Rules, change: Change, rule: PricesNamed) -> Problem | None:
        for price in _fresh_prices(change, rule):
            found = self.find(price)
            if found.is_active is False:
                what = "that this plan archives" if price in self.active else "that is archived"
                hint = "refer to an active price, or set `active` of this one to true"
                return _problem(rules, rule, f"names a price {what}, and Stripe accepts only active ones", hint)
            kind = found.is_recurring
            if rule.is_recurring is not None and kind is not None and kind is not rule.is_recurring:
                is_now, wanted = _kind(is_recurring=kind), _kind(is_recurring=rule.is_recurring)
                said = f"is a {is_now} price, and Stripe accepts only {wanted} prices there"
                hint = f"refer to a {wanted} price: one is recurring if its sync maps `recurring.interval`"
                return _problem(rules, rule, said, hint)
        return None

    def _two_currencies(self, rules: Rules, change: Change, rule: PricesNamed) -> Problem | None:
        """An object whose prices have no currency in common."""
        if rule.currency_source is None or not _fresh_prices(change, rule):
            return None
        named = lower_text(change.desired.get("currency"))
        common = frozenset({named}) if named is not None else None
        for price in _prices_at(change.desired, rule.path):
            found = self.find(price)
            if common is None:
                # The first price determines the currency.
                common = frozenset({found.currency}) if found.currency is not None else None
            elif found.currencies is not None and not common & found.currencies:
                return _problem(
                    rules,
                    rule,
                    "has prices of two currencies, and Stripe accepts one",
                    "use prices of one currency, or give this one `currency_options`",
                    source=rule.currency_source,
                )
        return None

    def _conflict_with_price(self, rules: Rules, change: Change, rule: PricesNamed) -> Problem | None:
        """Parameters that exclude a price: a quantity of a metered price, or one for prices of the other kind."""
        sent = {name for call in change.calls for name in call.params}
        top, name = rule.path.partition("[")[0], rule.path.rpartition(".")[2]
        entries = list(_entries(change.desired, rule.path))
        named = [(entry, self.find(entry[name])) for entry in entries if isinstance(entry.get(name), str | Ref)]
        if (
            rule.no_quantity
            and not sent.isdisjoint((top, "quantity"))
            and any(price.is_metered and entry.get("quantity") is not None for entry, price in named)
        ):
            return Problem(
                code="stripe-rule",
                summary="`quantity` can't be set for a metered price: its usage is counted",
                where=rules.sync.where.at_field("fields", top),
                hint=f"leave `quantity` null for it; see {rule.no_quantity}",
            )
        kinds = {price.is_recurring for _, price in named}
        if True in kinds:
            unfit, said = rule.one_time_only, "can't be set with a recurring price"
        elif kinds == {False} and len(named) == len(entries):
            unfit, said = rule.recurring_only, "requires a recurring price, and the row has none"
        else:
            return None
        for path in unfit:
            is_sent = not sent.isdisjoint((top, path.partition(".")[0]))
            if is_sent and object_value(change.desired, path) not in (None, "", False):
                return Problem(
                    code="stripe-rule",
                    summary=f"`{path}` {said}",
                    where=rules.sync.where.at_field("fields", path),
                    hint=f"leave `{path}` null for it; see {rule.modes_source}",
                )
        return None

    def _late_first_bill(self, rules: Rules, change: Change) -> Problem | None:
        rule = rules.lifecycle.first_bill
        moment = change.desired.get(rule.parameter) if rule is not None else None
        items = change.desired.get(rule.items) if rule is not None else None
        if rule is None or not isinstance(moment, int) or not isinstance(items, list) or not items:
            return None
        recurring = self._recurring_of(items[0])
        if recurring is None or moment <= rule.latest(change.desired, recurring, int(rules.now.timestamp())):
            return None
        return Problem(
            code="stripe-rule",
            summary=f"`{rule.parameter}` is after the first period of its price, and Stripe rejects such a time",
            where=rules.sync.where.at_field("fields", rule.parameter),
            hint=f"use a time within the first period, or postpone it with `trial_end`; see {rule.source}",
        )

    def _recurring_of(self, item: Any) -> Mapping[str, Any] | None:
        described = item.get("price_data") if isinstance(item, dict) else None
        price = item.get("price") if isinstance(item, dict) else None
        if isinstance(described, dict):
            recurring = described.get("recurring")
        else:
            recurring = self.find(price).recurring if isinstance(price, str | Ref) else None
        return recurring if isinstance(recurring, dict) and recurring.get("interval") else None


def remember(values: dict[_Key, _Value], key: _Key, value: _Value) -> _Value:
    """The remembered value for a key, or else this value, which is remembered now. The oldest one is dropped for it."""
    if key not in values and len(values) >= MOST_REMEMBERED:
        del values[next(iter(values))]
    return values.setdefault(key, value)


def lower_text(value: Any) -> str | None:
    """A text in lower case, as Stripe writes currencies; None for any other value."""
    return value.lower() if isinstance(value, str) and value else None


def _as_asked(params: Mapping[str, Any]) -> Price:
    """A price as it will be created."""
    recurring = params.get("recurring")
    return Price(
        currency=lower_text(params.get("currency")),
        options=frozenset(params.get(_OPTIONS) or ()),
        is_recurring=bool(recurring),
        is_metered=isinstance(recurring, dict) and recurring.get("usage_type") == "metered",
        recurring=recurring if isinstance(recurring, dict) else None,
        is_active=params.get("active") is not False,
    )


def _as_shown(body: Mapping[str, Any]) -> Price:
    """A price as Stripe returns it, with its currencies."""
    recurring, options, active = body.get("recurring"), body.get(_OPTIONS), body.get("active")
    return Price(
        currency=lower_text(body.get("currency")),
        options=frozenset(options) if isinstance(options, dict) else None,
        is_recurring=bool(recurring),
        is_metered=isinstance(recurring, dict) and recurring.get("usage_type") == "metered",
        recurring=recurring if isinstance(recurring, dict) else None,
        is_active=active if isinstance(active, bool) else None,
    )


def _kind(*, is_recurring: bool) -> str:
    return "recurring" if is_recurring else "one-time"


def _problem(rules: Rules, rule: PricesNamed, said: str, hint: str, *, source: str | None = None) -> Problem:
    return Problem(
        code="stripe-rule",
        summary=f"`{rule.path}` {said}",
        where=rules.sync.where.at_field("fields", rule.path.partition("[")[0]),
        hint=f"{hint}; see {source or rule.source}",
    )


def _fresh_prices(change: Change, rule: PricesNamed) -> Sequence[Named]:
    """The prices that a change's calls name and that its object doesn't have yet, each once."""
    if change.removed:
        return ()
    named = dict.fromkeys(price for call in change.calls for price in _prices_at(call.params, rule.path))
    if not named or any(call.creates for call in change.calls):
        return tuple(named)
    had = {text for part in change.changed for text in leaves(part.before) if isinstance(text, str)}
    return tuple(price for price in named if price not in had)


def _prices_to_see(change: Change, rule: PricesNamed) -> Sequence[Named]:
    """The prices that a change depends on: those that it newly names, and others that must have the same currency."""
    fresh = _fresh_prices(change, rule)
    if not fresh or rule.currency_source is None:
        return fresh
    return (*fresh, *_prices_at(change.desired, rule.path))


def _prices_at(value: Mapping[str, Any], path: str) -> Iterator[Named]:
    """The prices at a path, where `[]` stands for each entry of a list."""
    name = path.rpartition(".")[2]
    for entry in _entries(value, path):
        price = entry.get(name)
        if isinstance(price, str | Ref):
            yield price


def _entries(desired: Mapping[str, Any], path: str) -> Iterator[Mapping[str, Any]]:
    """The hashes in which a path leads to a price, where `[]` stands for each entry of a list."""
    level: list[Any] = [desired]
    for step in path.replace("[]", ".[]").split(".")[:-1]:
        if step == "[]":
            level = [part for value in level if isinstance(value, list) for part in value]
        else:
            level = [value.get(step) for value in level if isinstance(value, dict) and not value.get("deleted")]
    yield from (value for value in level if isinstance(value, dict) and not value.get("deleted"))
