"""For each kind of check, a value that passes and one that doesn't, with the other parameters that it needs."""

from __future__ import annotations

import re
import time
from copy import deepcopy
from functools import singledispatch
from typing import Any
from urllib.parse import quote, quote_plus

from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.rules import billing, numbers, shapes, tax_ids, texts, times, together
from dbt_stripe_sync.stripe_api.rules.checking import check_rules as check_rules_of
from dbt_stripe_sync.stripe_api.rules.rule import steps_of

NOW = int(time.time())
DAY = 86_400
MOST_REPAIRS = 10
_GOES_WITH = re.compile(r"is allowed only with `(\w+): (\w+)`")
_PLAIN = {ParamKind.INTEGER: 1, ParamKind.NUMBER: "1", ParamKind.BOOLEAN: True}
_BY_NAME = {"currency": "usd", "minimum_amount_currency": "usd", "country": "DE", "email": "a@example.com"}
_BY_NAME |= dict.fromkeys(
    ("url", "default_return_url", "privacy_policy_url", "terms_of_service_url"), "https://example.com"
)


def check_rules(name, *args, **known):
    """The rules that a call of a resource breaks, by the resource's name."""
    return check_rules_of(read_catalog().resources[name], *args, **known)


class Example(Struct, frozen=True):
    """Values of one parameter. `beside` are parameters of its hash, `instead` those of the bad one; `key` is a `*`.

    `currency` goes into the innermost hash around it that takes one.
    """

    good: Any
    bad: Any
    beside: dict[str, Any] = field(default_factory=dict)
    instead: dict[str, Any] | None = None
    currency: str | None = None
    key: str = "eur"


def smallest(param):
    """A value of a parameter with nothing that is not required."""
    if param.name in _BY_NAME and param.kind is ParamKind.STRING:
        return _BY_NAME[param.name]
    if param.name in ("due_date", "end_date", "redeem_by", "expires_at"):
        return NOW + DAY
    if param.kind is ParamKind.INTEGER and param.name.endswith("amount"):
        return 1000
    if param.enum:
        return param.enum[0]
    if param.kind is ParamKind.HASH:
        fields = param.fields or {}
        required = [p for p in fields.values() if p.required] or list(fields.values())[:1]
        return {p.name: smallest(p) for p in required}
    if param.kind is ParamKind.LIST:
        named = {"images": "https://example.com/1.png", "tiers": {"up_to": "inf", "unit_amount": 5}}
        return [named.get(param.name) or smallest(param.item)]
    if param.kind is ParamKind.MAP:
        return {"eur": smallest(param.values)}
    return _PLAIN.get(param.kind, "x")


def form(value, prefix=""):
    """A request's parameters as Stripe's clients encode them."""
    if isinstance(value, dict):
        return "&".join(form(inner, f"{prefix}[{name}]" if prefix else name) for name, inner in value.items())
    if isinstance(value, list):
        return "&".join(form(inner, f"{prefix}[{index}]") for index, inner in enumerate(value))
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{quote(prefix, safe='[]')}={quote_plus(text)}"


@singledispatch
def example_of(check, param, around) -> Example:
    raise NotImplementedError(f"no example of {type(check).__name__}")


@example_of.register
def _(check: texts.MaxCharacters, param, _around):
    if param.name == "email":
        domain = "@example.com"
        return Example("x" * (check.most - len(domain)) + domain, "x" * check.most + domain)
    start = "https://example.com/" if "url" in param.name or "images" in param.name else ""
    return Example(start + "x" * (check.most - len(start)), start + "x" * (check.most + 1))


@example_of.register
def _(check: texts.Without, _param, _around):
    return Example("ACME", f"AC{check.characters[-1]}ME")


@example_of.register
def _(_check: numbers.LeastCharge, _param, _around):
    return Example(400, 399, currency="hkd", key="hkd")


@example_of.register
def _(_check: times.InWindow, _param, _around):
    return Example(NOW - 34 * DAY, NOW - 36 * DAY)


@example_of.register
def _(check: times.YearsOld, _param, _around):
    born = {"day": 1, "month": 1, "year": time.gmtime(NOW).tm_year - check.years}
    return Example({**born, "year": born["year"] - 1}, {**born, "year": born["year"] + 1})


@example_of.register
def _(_check: billing.OptionAmounts, _param, _around):
    both = {"unit_amount": 5, "custom_unit_amount": {"enabled": True}}
    return Example({"eur": {"unit_amount": 5}}, {"eur": both}, {"billing_scheme": "per_unit", "currency": "usd"})


@example_of.register
def _(_check: billing.DistinctPrices, _param, _around):
    return Example([{"price": "price_1"}, {"price": "price_2"}], [{"price": "price_1"}, {"price": "price_1"}])


@example_of.register
def _(_check: billing.OneCurrency, param, _around):
    data = {**smallest(param.item.fields["price_data"]), "unit_amount": 1000}
    needed = {name: smallest(field_) for name, field_ in param.item.fields.items() if field_.required}
    items = [{**needed, "price_data": {**data, "currency": currency}} for currency in ("usd", "eur")]
    return Example([items[0]], items)


@example_of.register
def _(_check: billing.PhasesInOrder, param, _around):
    start = {"start_date": NOW}
    in_phase = "start_date" in param.item.fields
    first = {**smallest(param)[0], **(start if in_phase else {})}
    beside = {} if in_phase else start
    return Example([{**first, "end_date": NOW + DAY}], [{**first, "end_date": NOW - DAY}], beside, beside)


@example_of.register
def _(_check: billing.TrialOfPhase, param, _around):
    start = {"start_date": NOW} if "start_date" in param.fields else {}
    phase = {**start, "end_date": NOW + DAY, "trial": True}
    return Example({**phase, "trial_end": NOW + DAY}, {**phase, "trial_end": NOW + DAY - 1})


@example_of.register
def _(check: together.Alone, param, around):
    other = next(name for name in around[-1] if name not in {param.name, *check.but})
    return Example(smallest(param), smallest(param), {}, {other: smallest(around[-1][other])})


@example_of.register
def _(check: together.DiffersFrom, _param, _around):
    return Example(2, 3, {check.sibling: 3})


@example_of.register
def _(check: together.NotBeside, param, around):
    beside = around[-1].get(check.other)
    return Example(None, smallest(param), {}, {check.other: smallest(beside)} if beside is not None else {})


@example_of.register
def _(check: together.OneOfItems, _param, around):
    item = smallest(around[-1][check.sibling].item)
    return Example("one", "other", {check.sibling: [{**item, check.name: "one"}]})


@example_of.register
def _(check: together.ValueNeeds, _param, around):
    others = [word for word in around[-1][check.sibling].enum if word != check.value]
    return Example(check.own, check.own, {check.sibling: check.value}, {check.sibling: others[0]})


@example_of.register
def _(_check: texts.HasLetter, _param, _around):
    return Example("A1", "12345")


@example_of.register
def _(check: texts.Matches, _param, _around):
    good = next(text for text in ("ABC", "CA", "2023-12-31", "A") if re.fullmatch(check.pattern, text))
    bad = next(text for text in ("ab c", "a_1!") if not re.fullmatch(check.pattern, text))
    return Example(good, bad)


@example_of.register
def _(_check: texts.Email, _param, _around):
    return Example("a@example.com", "a b@example.com")


@example_of.register
def _(_check: texts.Currency, _param, _around):
    return Example("usd", "xyz")


@example_of.register
def _(_check: texts.CurrencyKeys, param, _around):
    return Example({"eur": smallest(param.values)}, {"xyz": smallest(param.values)})


@example_of.register
def _(_check: texts.Country, _param, _around):
    return Example("DE", "Germany")


@example_of.register
def _(check: numbers.Between, _param, _around):
    if check.above is not None:
        return Example(check.above + 1, check.above)
    if check.least is not None:
        return Example(check.least, check.least - 1)
    return Example(check.most, check.most + 1)


@example_of.register
def _(check: numbers.MaxDecimals, _param, _around):
    return Example("1." + "1" * check.most, "1." + "1" * (check.most + 1))


@example_of.register
def _(_check: numbers.WholeAmount, _param, _around):
    return Example(1230, 1234, currency="kwd", key="kwd")


@example_of.register
def _(_check: numbers.ChargeableAmount, _param, _around):
    return Example(99_999_999, 100_000_000, currency="usd")


@example_of.register
def _(_check: times.InFuture, _param, _around):
    return Example(NOW + 5 * DAY, NOW - DAY)


@example_of.register
def _(_check: times.InPast, _param, _around):
    return Example(NOW - DAY, NOW + DAY)


@example_of.register
def _(check: times.WithinYears, _param, _around):
    return Example(NOW + check.years * 365 * DAY, NOW + check.years * 366 * DAY + 5 * DAY)


@example_of.register
def _(check: times.MaxInterval, _param, _around):
    return Example(check.most["month"], check.most["month"] + 1, {"interval": "month"})


@example_of.register
def _(check: times.NotBefore, _param, _around):
    return Example(100, 99, {check.sibling: 100})


@example_of.register
def _(check: shapes.MaxItems, param, _around):
    (item,) = smallest(param)
    return Example([item] * check.most, [item] * (check.most + 1))


@example_of.register
def _(_check: shapes.MaxSubscriptionItems, _param, _around):
    return Example([{"price": "price_1"}] * 100, [{"price": "price_1"}] * 101)


@example_of.register
def _(check: together.OnlyWith, param, around):
    others = [word for word in around[-1][check.sibling].enum if word != check.value]
    return Example(smallest(param), smallest(param), {check.sibling: check.value}, {check.sibling: others[0]})


@example_of.register
def _(check: together.NotWith, param, _around):
    return Example(smallest(param), smallest(param), {}, {check.sibling: check.value})


@example_of.register
def _(check: together.NeedsOneOf, param, around):
    fields = around[-1] if param is None else param.fields
    name = next(name for name in check.names if name in fields)
    # A hash without anything in it can't be sent.
    others = (p for p in fields.values() if p.kind in _PLAIN and p.name not in (*check.names, *check.instead))
    other = next(others, None) if param is not None else None
    return Example({name: smallest(fields[name])}, {} if other is None else {other.name: smallest(other)})


@example_of.register
def _(check: together.NeedsWhen, param, around):
    fields = around[-1] if param is None else param.fields
    value = check.value if check.value is not None else smallest(fields[check.trigger])
    needed = {check.names[0]: smallest(fields[check.names[0]])}
    return Example({check.trigger: value, **needed}, {check.trigger: value})


@example_of.register
def _(_check: together.Ascending, _param, _around):
    first, last = {"up_to": 10, "unit_amount": 5}, {"up_to": "inf", "unit_amount": 4}
    return Example([first, last], [last, first])


@example_of.register
def _(check: together.InOrder, param, _around):
    first = NOW + 2 * DAY
    start = {"start_date": NOW} if {"start_date", "end_date"} <= param.fields.keys() else {}
    return Example(*(_nested({**start, check.earlier: first, check.later: first + by}) for by in (1, -1)))


@example_of.register
def _(check: together.MostTogether, param, around):
    beside = {check.other: smallest(around[-1][check.other]) * 11}
    return Example(
        [smallest(param.item)] * (check.most - 11), [smallest(param.item)] * (check.most - 10), beside, beside
    )


def _nested(values):
    """A hash from dotted paths."""
    made: dict[str, Any] = {}
    for path, value in values.items():
        *outer, last = path.split(".")
        inner = made
        for step in outer:
            inner = inner.setdefault(step, {})
        inner[last] = value
    return made


@example_of.register
def _(check: together.Excludes, param, around):
    return Example(None, smallest(param), {check.other: smallest(around[-1][check.other])})


@example_of.register
def _(check: shapes.FirstHas, param, _around):
    without = smallest(param)[0]
    without.pop(check.name, None)
    return Example([{**without, check.name: NOW}], [without])


@example_of.register
def _(check: shapes.WithoutOwnCurrency, param, _around):
    return Example({"eur": smallest(param.values)}, {"usd": smallest(param.values)}, {check.own: "usd"})


@example_of.register
def _(_check: shapes.Metadata, _param, _around):
    return Example({f"k{n}": "v" for n in range(50)}, {"a[b]": "x"})


@example_of.register
def _(check: tax_ids.TaxId, _param, _around):
    examples = {"eu_vat": "DE123456789", "us_ein": "12-3456789"}
    type_, good = next((name, value) for name, value in examples.items() if name in check.forms)
    return Example(good, "nonsense", {"type": type_})


@example_of.register
def _(_check: texts.Url, _param, _around):
    return Example("https://example.com", "example.com")


@example_of.register
def _(check: shapes.Includes, param, _around):
    return Example([check.word], [next(word for word in param.item.enum if word != check.word)])


@example_of.register
def _(check: together.GoesWithOnly, param, around):
    other = next(n for n in sorted(around[-1], reverse=True) if n not in {param.name, *check.names})
    return Example(check.value, check.value, {}, {other: smallest(around[-1][other])})


def example_request(resource, operation, rule):
    """A rule's example and two whole requests, the good and the bad one."""
    described = read_catalog().resources[resource].operations[operation]
    params = {name: param for name, param in described.params.items() if name not in described.path_params}
    steps = steps_of(rule.path)
    param, around = _find(params, steps)
    example = example_of(rule.check, param, around)
    bad = example if example.instead is None else replace(example, beside=example.instead)
    requests = (_request(params, steps, example.good, example), _request(params, steps, example.bad, bad))
    return example, *(_repaired(resource, operation, request, params, rule) for request in requests)


def _find(params, steps):
    """The parameter at a path, and the parameters of each hash on the way, innermost last."""
    level, around = params, [params]
    param: Any = None
    for step in steps:
        if step == "[]":
            param = param.item
        elif step == "*":
            param = param.values
        else:
            param = level[step]
        if step not in ("[]", "*"):
            around.append(level)
        level = param.fields or level
    return param, around[1:] or around


def _request(params, steps, value, example):
    """The parents of the value come first, so that nothing else is refused before it."""
    value = deepcopy(value)
    made = value if not steps else _build(params, steps, value, deepcopy(example)) if value is not None else {}
    for name, param in params.items():
        if param.required and name not in made:
            made[name] = smallest(param)
    return made


def _repaired(resource, operation, request, params, rule):
    """The request with what other rules ask it for, so that it breaks `rule` alone."""
    for _ in range(MOST_REPAIRS):
        for found in check_rules(resource, operation, request, now=NOW, whole=True, guesses=True):
            asked = _GOES_WITH.match(found.reason)
            is_own = found.source == rule.source and getattr(rule.check, "names", (None,))[0] == found.path[-1]
            if found.reason.startswith("is missing") and not is_own:
                filled = _filled(resource, operation, request, params, found, rule)
                if filled is None:
                    continue
                request = filled
            elif asked and not (
                isinstance(rule.check, together.OnlyWith) and found.path[-1] == rule.path.split(".")[-1]
            ):
                # The amounts in other currencies follow the scheme of the price around them.
                outer = () if found.path[0] == "currency_options" else found.path[:-1]
                _put(request, (*outer, asked[1]), asked[2])
            else:
                continue
            break
        else:
            return request
    raise AssertionError(f"{resource}.{operation} {rule.path}: {request} can't be repaired")


def _filled(resource, operation, request, params, found, rule):
    """The request with one of the parameters of which it lacks one; None where each breaks another rule."""
    before = _shut_out(resource, operation, request)
    for name in re.findall(r"`(\w+)`", found.hint):
        path = (*found.path[:-1], name)
        param = _param_at(params, path)
        if param is None or (isinstance(rule.check, together.NeedsWhen) and name in rule.check.names):
            continue
        tried = deepcopy(request)
        _put(tried, path, smallest(param))
        if _shut_out(resource, operation, tried) <= before:
            return tried
    return None


def _shut_out(resource, operation, request):
    """What goes with nothing else of the request."""
    broken = check_rules(resource, operation, request, now=NOW, whole=True, guesses=True)
    return {v.path for v in broken if v.code == "parameters_exclusive" or v.reason.startswith("does not go")}


def _put(request, path, value):
    *outer, last = path
    inner = request
    for step in outer:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner[last] = value


def _param_at(params, path):
    level = params
    param: Any = None
    for step in path:
        param = param.item if step.isdigit() else (param.values if param and param.values else level.get(step))
        level = param.inner if param is not None else {}
    return param


def _build(fields, steps, value, example):
    first, rest = steps[0], steps[1:]
    param = fields[first]
    made = {first: _inner(param, rest, value, example), **(example.beside if not rest else {})}
    named = next((name for name in ("currency", "minimum_amount_currency") if name in fields), None)
    if example.currency and named and not _says_currency(made):
        made[named] = example.currency
    return made


def _says_currency(value):
    """Whether some hash of a request names a currency already, by a parameter or as a key."""
    if isinstance(value, list):
        return any(_says_currency(inner) for inner in value)
    if not isinstance(value, dict):
        return False
    named = {"currency", "minimum_amount_currency", "currency_options"} & value.keys()
    return bool(named) or any(_says_currency(inner) for inner in value.values())


def _with_required(param, value):
    """A hash with what it requires."""
    if not isinstance(value, dict) or not param.fields:
        return value
    made = {name: _with_required(param.fields[name], inner) for name, inner in value.items()}
    return {**{name: smallest(p) for name, p in param.fields.items() if p.required and name not in made}, **made}


def _inner(param, rest, value, example):
    if not rest:
        return _with_required(param, value)
    if rest[0] == "[]":
        return [_inner(param.item, rest[1:], value, example)]
    if rest[0] == "*":
        return {example.key: _inner(param.values, rest[1:], value, example)}
    made = _build(param.fields, rest, value, example)
    for name, field_ in param.fields.items():
        if (field_.required or (param.name == "phases" and name == "start_date")) and name not in made:
            made[name] = smallest(field_)
    return made
