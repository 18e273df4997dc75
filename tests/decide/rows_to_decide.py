"""Rows of every kind of resource that differ in every way, and the possible states of their objects.

`walk` answers each question of `decide` in every way that makes a difference, so a row becomes a tree of decisions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.config.sync import parse_syncs
from dbt_stripe_sync.engine.decide.calls import row_tag
from dbt_stripe_sync.engine.decide.decide import decide
from dbt_stripe_sync.engine.decide.rules import (
    Ask,
    FindObjects,
    Found,
    Holding,
    Observed,
    ReadHoldings,
    ReadItems,
    ReadObject,
    ReadOurs,
    ReadOwners,
    ReadWhole,
    Row,
    Rules,
    Unseen,
)
from dbt_stripe_sync.engine.payload.builder import PayloadBuilder
from dbt_stripe_sync.engine.payload.compare import payload_hash
from dbt_stripe_sync.engine.payload.layout import build_layout
from dbt_stripe_sync.model.change import Fingerprint
from dbt_stripe_sync.model.difference import Kind, RowDiff
from dbt_stripe_sync.model.lifecycle import ByStatus
from dbt_stripe_sync.model.nodes import ModelNode
from dbt_stripe_sync.model.objects import TAG_FIELD
from dbt_stripe_sync.model.record import REBUILT, TAGGED_AS
from dbt_stripe_sync.model.sync import OnDeleted, WhenEnded
from dbt_stripe_sync.stripe_api.catalog import read_catalog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.engine.decide.rules import Decision, Need
    from dbt_stripe_sync.model.lifecycle import Step

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = "1"
OBJECT = "obj_1"
OTHER = "obj_2"


class Sold(Struct, frozen=True):
    """One kind of resource as a sync maps it.

    `row` is a row of its model, `changed` what an update takes of it, `fixed` what no update does, `moved` a reference
    that leads to another object. `shown` is what its object shows beside what was sent.
    """

    resource: str
    fields: dict[str, Any]
    row: dict[str, Any]
    changed: dict[str, Any] | None = None
    fixed: dict[str, Any] | None = None
    moved: dict[str, Any] | None = None
    shown: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


USD = {"value": "usd"}
PERSON = {"sync": "people", "key": "person"}
SOLD: dict[str, Sold] = {
    "customer": Sold(
        "customer",
        {"email": "email", "metadata.plan": "plan", "test_clock": "clock"},
        {"email": "a@example.com", "plan": "team", "clock": "clock_1"},
        changed={"plan": "solo"},
        fixed={"clock": "clock_2"},
        meta={"match": ["email"]},
    ),
    "customer with parts of an address": Sold(
        "customer",
        {"email": "email", "address.country": "country", "address.city": "city"},
        {"email": "a@example.com", "country": "AT", "city": "Graz"},
        changed={"country": "DE", "city": None},
        shown={"address": {"line1": "Weg 1", "line2": None, "city": "Graz", "country": "AT"}},
        meta={"match": ["email"]},
    ),
    "product": Sold(
        "product",
        {"id": "sku", "name": "name", "description": "text"},
        {"sku": "desk", "name": "Desk", "text": "Oak"},
        changed={"name": "Table", "text": None},
        fixed={"sku": "table"},
    ),
    "price": Sold(
        "price",
        {"product": "product", "currency": USD, "unit_amount": "cents", "nickname": "nick"},
        {"product": "prod_1", "cents": 1000, "nick": "Basic"},
        changed={"nick": "Plus"},
        fixed={"cents": 1200},
        moved={"product": "prod_2"},
    ),
    "price with a lookup key": Sold(
        "price",
        {"product": "product", "currency": USD, "unit_amount": "cents", "lookup_key": "lookup"},
        {"product": "prod_1", "cents": 1000, "lookup": "basic"},
        changed={"lookup": "plus"},
        fixed={"cents": 1200},
        meta={"match": ["lookup_key"], "options": {"move_holders": True}},
    ),
    "price that makes its product": Sold(
        "price",
        {"product_data.name": "name", "currency": USD, "unit_amount": "cents"},
        {"name": "Desk", "cents": 1000},
        fixed={"cents": 1200},
        shown={"product": "prod_1"},
    ),
    "plan": Sold(
        "plan",
        {"id": "code", "currency": USD, "amount": "cents", "interval": {"value": "month"}, "nickname": "nick"},
        {"code": "basic", "cents": 1000, "nick": "Basic"},
        changed={"nick": "Plus"},
        fixed={"cents": 1200},
    ),
    "coupon": Sold(
        "coupon",
        {"percent_off": "pct", "duration": {"value": "once"}, "name": "name"},
        {"pct": 10, "name": "Ten"},
        changed={"name": "Tenth"},
        fixed={"pct": 20},
    ),
    "coupon with its own id": Sold(
        "coupon",
        {"id": "code", "percent_off": "pct", "duration": {"value": "once"}},
        {"code": "TEN", "pct": 10},
        fixed={"pct": 20},
    ),
    "promotion code": Sold(
        "promotion_code",
        {"promotion": {"type": {"value": "coupon"}, "coupon": "coupon"}, "code": "code", "metadata.a": "a"},
        {"coupon": "TEN", "code": "SUMMER", "a": "1"},
        changed={"a": "2"},
        fixed={"code": "WINTER"},
        moved={"coupon": "TWENTY"},
    ),
    "tax rate": Sold(
        "tax_rate",
        {"display_name": "name", "percentage": "pct", "inclusive": {"value": False}},
        {"name": "VAT", "pct": 19},
        changed={"name": "USt"},
        fixed={"pct": 20},
    ),
    "shipping rate": Sold(
        "shipping_rate",
        {
            "display_name": "name",
            "fixed_amount.amount": {"value": 500},
            "fixed_amount.currency": {"value": "usd"},
            "metadata.a": "a",
        },
        {"name": "Slow", "a": "1"},
        changed={"a": "2"},
        fixed={"name": "Fast"},
    ),
    "amount of a shipping rate": Sold(
        "shipping_rate",
        {
            "display_name": {"value": "Slow"},
            "type": {"value": "fixed_amount"},
            "fixed_amount.amount": "cents",
            "fixed_amount.currency": USD,
            "metadata.a": "a",
        },
        {"cents": 500, "a": "1"},
        changed={"a": "2"},
        fixed={"cents": 700},
    ),
    "restrictions of a promotion code": Sold(
        "promotion_code",
        {
            "promotion": {"value": {"type": "coupon", "coupon": "TEN"}},
            "code": {"value": "SUMMER"},
            "restrictions.minimum_amount": "least",
            "restrictions.minimum_amount_currency": USD,
        },
        {"least": 1000},
        fixed={"least": 2000},
    ),
    "tax behavior of a price": Sold(
        "price",
        {"product": {"value": "prod_1"}, "currency": USD, "unit_amount": {"value": 1000}, "tax_behavior": "tax"},
        {"tax": "exclusive"},
        fixed={"tax": "inclusive"},
    ),
    "price of a payment link": Sold(
        "payment_link",
        {"line_items": [{"price": "price", "quantity": "seats"}]},
        {"price": "price_1", "seats": 1},
        changed={"seats": 2},
        moved={"price": "price_2"},
    ),
    "subscription": Sold(
        "subscription",
        {"customer": "person", "items": [{"price": "price", "quantity": "seats"}], "description": "text"},
        {"person": "cus_1", "price": "price_1", "seats": 2, "text": "first"},
        changed={"seats": 3},
        fixed={"person": "cus_2"},
        moved={"price": "price_2"},
    ),
    "subscription to be replaced": Sold(
        "subscription",
        {"customer": "person", "items": [{"price": "price"}], "proration_behavior": {"value": "none"}},
        {"person": "cus_1", "price": "price_1"},
        changed={"price": "price_2"},
        fixed={"person": "cus_2"},
        meta={"options": {"replace": True}},
    ),
    "subscription to be restarted": Sold(
        "subscription",
        {"customer": "person", "items": [{"price": "price"}]},
        {"person": "cus_1", "price": "price_1"},
        changed={"price": "price_2"},
    ),
    "subscription schedule": Sold(
        "subscription_schedule",
        {
            "customer": "person",
            "end_behavior": "end",
            "start_date": {"value": "now"},
            "phases": {"value": [{"items": [{"price": "price_1", "quantity": 1}]}]},
        },
        {"person": "cus_1", "end": "release"},
        changed={"end": "cancel"},
        fixed={"person": "cus_2"},
        meta={"options": {"replace": True}},
    ),
    "invoice": Sold(
        "invoice",
        {"customer": "person", "description": "text", "metadata.a": "a"},
        {"person": "cus_1", "text": "first", "a": "1"},
        changed={"text": "second"},
        fixed={"person": "cus_2"},
    ),
    "invoice to be replaced": Sold(
        "invoice",
        {"customer": "person", "metadata.a": "a"},
        {"person": "cus_1", "a": "1"},
        changed={"a": "2"},
        fixed={"person": "cus_2"},
        meta={"options": {"replace": True}},
    ),
    "invoice item": Sold(
        "invoice_item",
        {"customer": "person", "amount": "cents", "currency": USD},
        {"person": "cus_1", "cents": 700},
        changed={"cents": 800},
        fixed={"person": "cus_2"},
    ),
    "credit note": Sold(
        "credit_note",
        {"invoice": "invoice", "memo": "memo", "amount": "cents"},
        {"invoice": "in_1", "memo": "sorry", "cents": 100},
        changed={"memo": "very sorry"},
        fixed={"cents": 200},
    ),
    "quote": Sold(
        "quote",
        {"customer": "person", "description": "text", "test_clock": "clock"},
        {"person": "cus_1", "text": "first", "clock": "clock_1"},
        changed={"text": "second"},
        fixed={"clock": "clock_2"},
        meta={"options": {"replace": True}},
    ),
    "entry in a customer's balance": Sold(
        "customer.balance_transaction",
        {"customer": "person", "amount": "cents", "currency": USD, "description": "text"},
        {"person": "cus_1", "cents": -500, "text": "first"},
        changed={"text": "second"},
        fixed={"cents": -600},
    ),
    "customer's tax id": Sold(
        "customer.tax_id",
        {"customer": "person", "type": {"value": "eu_vat"}, "value": "number"},
        {"person": "cus_1", "number": "DE123456789"},
        fixed={"number": "DE987654321"},
    ),
    "tax id": Sold(
        "tax_id",
        {"type": {"value": "eu_vat"}, "value": "number"},
        {"number": "DE123456789"},
        fixed={"number": "DE987654321"},
    ),
    "feature": Sold(
        "entitlements.feature",
        {"lookup_key": "code", "name": "name"},
        {"code": "sso", "name": "SSO"},
        changed={"name": "Single sign-on"},
        fixed={"code": "saml"},
    ),
    "payment link": Sold(
        "payment_link",
        {"line_items": [{"price": "price", "quantity": {"value": 1}}], "currency": "currency", "metadata.a": "a"},
        {"price": "price_1", "currency": "usd", "a": "1"},
        changed={"a": "2"},
        fixed={"currency": "eur"},
        meta={"options": {"replace": True}},
    ),
    "meter": Sold(
        "billing.meter",
        {"event_name": "code", "display_name": "name", "default_aggregation.formula": {"value": "sum"}},
        {"code": "calls", "name": "Calls"},
        changed={"name": "API calls"},
        fixed={"code": "requests"},
    ),
    "meter event": Sold(
        "billing.meter_event",
        {"event_name": {"value": "calls"}, "payload.value": "n", "payload.stripe_customer_id": "person"},
        {"n": 1, "person": "cus_1"},
        fixed={"n": 2},
        meta={"mode": "insert"},
    ),
    "credit grant": Sold(
        "billing.credit_grant",
        {
            "customer": "person",
            "category": "category",
            "amount": {"value": {"type": "monetary", "monetary": {"currency": "usd", "value": 500}}},
            "applicability_config": {"value": {"scope": {"price_type": "metered"}}},
            "expires_at": "at",
        },
        {"person": "cus_1", "category": "paid", "at": 1780000000},
        changed={"at": 1790000000},
        fixed={"category": "promotional"},
    ),
    "card": Sold(
        "issuing.card",
        {"cardholder": "holder", "currency": USD, "type": {"value": "virtual"}, "status": "status"},
        {"holder": "ich_1", "status": "active"},
        changed={"status": "inactive"},
        fixed={"holder": "ich_2"},
    ),
    "reader's location": Sold(
        "terminal.location",
        {"display_name": "name", "address.country": {"value": "DE"}, "address.line1": "street"},
        {"name": "Shop", "street": "Weg 1"},
        changed={"street": "Weg 2"},
    ),
}
CATALOG = read_catalog()


@cache
def rules_for(name: str, *, on_deleted: str = "reject", **meta: str) -> Rules:
    """The rules of a sync of one kind, as its YAML says; `meta` adds to that."""
    sold = SOLD[name]
    node = ModelNode(
        unique_id="model.shop.rows",
        name="rows",
        package="shop",
        resource_type="model",
        materialized="table",
        file="models/schema.yml",
        path="models/rows.sql",
        fqn=("shop", "rows"),
        depends_on=(),
        relation='"db"."main"."rows"',
        sql=None,
        meta={"stripe_sync": {"resource": sold.resource, "key": "id", "fields": sold.fields, **sold.meta, **meta}},
        raw_meta=None,
        columns={},
    )
    parsed = parse_syncs({node.unique_id: node}, CATALOG, project="shop")
    assert not parsed.problems, [problem.summary for problem in parsed.problems]
    when_ended = WhenEnded.RESTART if name.endswith("restarted") else WhenEnded.KEEP
    sync = replace(parsed.syncs[0], on_deleted=OnDeleted(on_deleted), when_ended=when_ended)
    resource, layout = CATALOG.resources[sold.resource], build_layout(sync)
    builder = PayloadBuilder(sync, layout, resource)
    return Rules(sync=sync, resource=resource, layout=layout, builder=builder, now=NOW, tag_for=None)


class Differing(Struct, frozen=True):
    """One row that differs, and the rules of its sync. `name` says how it differs."""

    sold: str
    name: str
    rules: Rules
    row: Row


def differing(sold: str) -> Iterator[Differing]:
    """A row of one kind in every way in which it can differ."""
    kind, rules = SOLD[sold], rules_for(sold)
    base, after = kind.row, {**kind.row, **(kind.changed or {})}
    yield Differing(sold, "new", rules, _row(rules, Kind.NEW, None, base))
    yield Differing(
        sold, "new after the first run", replace(rules, tag_for=frozenset()), _row(rules, Kind.NEW, None, base)
    )
    yield Differing(sold, "mapped in other words", rules, _row(rules, Kind.CHANGED, base, base))
    for name, change in (("changed", kind.changed), ("fixed", kind.fixed)):
        if change:
            row = _row(rules, Kind.CHANGED, base, {**base, **change})
            yield Differing(sold, f"{name}: {', '.join(change)}", rules, row)
    if kind.moved:
        row = _row(rules, Kind.CHANGED, base, {**base, **kind.moved}, only_refs=True)
        yield Differing(sold, f"refers to another: {', '.join(kind.moved)}", rules, row)
    if kind.changed and kind.fixed:
        both = {**base, **kind.changed, **kind.fixed}
        yield Differing(sold, "both", rules, _row(rules, Kind.CHANGED, base, both))
    yield Differing(sold, "rebuilt, the same", rules, _row(rules, Kind.CHANGED, base, base, payload_hash=REBUILT))
    yield Differing(sold, "rebuilt, changed", rules, _row(rules, Kind.CHANGED, base, after, payload_hash=REBUILT))
    if kind.moved:
        moved = {**base, **kind.moved}
        row = _row(rules, Kind.CHANGED, base, moved, payload_hash=REBUILT)
        yield Differing(sold, f"rebuilt, refers to another: {', '.join(kind.moved)}", rules, row)
    yield Differing(sold, "unreadable", rules, _row(rules, Kind.CHANGED, base, after, unreadable=True))
    renamed = _row(rules, Kind.CHANGED, base, after, more={TAGGED_AS: "earlier"})
    yield Differing(sold, "changed, its sync renamed", rules, renamed)
    for word in ("reject", "recreate", "forget"):
        chosen = rules_for(sold, on_deleted=word)
        yield Differing(sold, f"deleted by hand, {word}", chosen, _row(chosen, Kind.CHANGED, base, after, missing=True))
    for removal in ("ignore", *(each.value for each in rules.lifecycle.on_removed)):
        chosen = rules_for(sold, on_removed=removal)
        yield Differing(sold, f"removed, {removal}", chosen, _row(chosen, Kind.REMOVED, base, None))
        if removal != "ignore" and not _first_step(chosen).gone:
            yield Differing(sold, f"returned after {removal}", chosen, _row(chosen, Kind.RETURNED, base, base))


def _row(
    rules: Rules,
    kind: Kind,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    *,
    more: Mapping[str, Any] | None = None,
    **given: Any,
) -> Row:
    """A row whose record was written as `before` and which asks for `after` now."""
    values = {"id": KEY, **(after or {})}
    written = {} if before is None else rules.builder.build(KEY, {"id": KEY, **before}).params
    stripe_id = written.get("id", OBJECT)
    if kind is Kind.RETURNED:
        written = {**written, **_first_step(rules).params}
    if given.get("payload_hash") == REBUILT:
        written = body_of(rules, written)
    if given.get("unreadable"):
        written = {name: Fingerprint(salt="old", digest=name) for name in written}
    diff = RowDiff(
        kind=kind,
        key=KEY,
        row=values if after is not None else {},
        source_hash=7,
        refs=None,
        stripe_id=None if before is None else str(stripe_id),
        params={**written, **(more or {})},
        payload_hash=given.pop("payload_hash", None if before is None else payload_hash(written)),
        adopted=False,
        **given,
    )
    return Row(diff=diff, payload=None if after is None else rules.builder.build(KEY, values))


def _first_step(rules: Rules) -> Step:
    rule = rules.lifecycle.on_removed[rules.sync.on_removed]
    return next(iter(rule.steps.values())) if isinstance(rule, ByStatus) else rule


def body_of(rules: Rules, params: Mapping[str, Any], *, tagged: bool = True, **shown: Any) -> dict[str, Any]:
    """An object that was made of these parameters."""
    sold = next(kind for kind in SOLD.values() if kind.resource == rules.resource.name and _maps(kind, rules))
    body = {"object": rules.resource.name, **params, **sold.shown, "id": params.get("id", OBJECT)}
    for name in rules.lifecycle.item_lists:
        items = [{"id": f"si_{number}", **item} for number, item in enumerate(body.get(name, []), 1)]
        body[name] = {"object": "list", "data": items, "has_more": False}
    if rules.lifecycle.tagged and "metadata" in rules.resource.params:
        tag = {"dbt_stripe_sync": row_tag(rules, KEY)} if tagged else {}
        body["metadata"] = {**body.get("metadata", {}), **tag}
    return {**body, **shown}


def _maps(kind: Sold, rules: Rules) -> bool:
    return {name.partition(".")[0] for name in kind.fields} == {path[0] for path in rules.mapped}


# ── what can be seen ─────────────────────────────────────────────────────────────────────────────────────────────


def answers(rules: Rules, row: Row, need: Need, seen: Observed) -> Iterator[tuple[str, Observed]]:
    """Every kind of answer to what a row asks to see."""
    if isinstance(need, FindObjects):
        for name, found in _finds(rules, row, need):
            yield name, replace(seen, found=replace(found, is_near=need.is_near))
    elif isinstance(need, ReadObject):
        for name, body in _bodies(rules, row):
            yield name, replace(seen, body=body, expanded=seen.expanded.union(need.expand))
    elif isinstance(need, ReadItems):
        yield "its items", replace(seen, items={need.name: [{"id": "si_1", "price": "price_1"}]})
    elif isinstance(need, ReadHoldings):
        for name, holdings in _holdings(need):
            yield name, replace(seen, holdings=holdings)
    else:
        yield from _answers_of_rows(rules, row, need, seen)


def _answers_of_rows(
    rules: Rules, row: Row, need: ReadOurs | ReadOwners | ReadWhole, seen: Observed
) -> Iterator[tuple[str, Observed]]:
    """What the records and the other rows can say."""
    if isinstance(need, ReadOurs):
        yield "all of them are ours", replace(seen, ours=frozenset(need.ids))
        yield "none of them is ours", replace(seen, ours=frozenset())
    elif isinstance(need, ReadWhole):
        yield "a row has the whole", replace(seen, whole_is_left=False)
        yield "no row has the whole", replace(seen, whole_is_left=True)
    else:
        here = (rules.sync.name, row.diff.key)
        for name, owner in (("free", None), ("its own", here), ("another row's", (rules.sync.name, "2"))):
            yield name, replace(seen, owners=dict.fromkeys(need.values, owner))


def _finds(rules: Rules, row: Row, need: FindObjects) -> Iterator[tuple[str, Found]]:
    assert row.payload is not None
    params, ours = row.payload.params, (rules.sync.name, row.diff.key)
    by = need.pairs[-1][0]
    yield "nothing is found", Found()
    yield "Stripe can't be asked", Found(failed=True)
    if need.pairs[0][0] == TAG_FIELD:
        body = body_of(rules, params)
        yield "found by tag", Found(by=TAG_FIELD, objects=(body,))
        yield "found by tag, recorded as its own", Found(by=TAG_FIELD, objects=(body,), owners={str(body["id"]): ours})
        taken = {str(body["id"]): (rules.sync.name, "2")}
        yield "found by tag, another row's", Found(by=TAG_FIELD, objects=(body,), owners=taken)
        yield "found by tag, a replaced one as well", Found(by=TAG_FIELD, objects=(body, {**body, "id": OTHER}))
        if "active" in rules.resource.params:
            yield "found by tag, archived", Found(by=TAG_FIELD, objects=({**body, "active": False},))
        for status in sorted(rules.lifecycle.ended):
            yield f"found by tag, {status}", Found(by=TAG_FIELD, objects=({**body, "status": status},))
    if by != TAG_FIELD:
        body = body_of(rules, params, tagged=False)
        other = {**body, "id": OTHER}
        yield f"found by {by}", Found(by=by, objects=(body,))
        yield f"two found by {by}", Found(by=by, objects=(body, other))
        yield f"found by {by}, another sync's", Found(by=by, objects=(body,), owners={OBJECT: ("strangers", "9")})


def _bodies(rules: Rules, row: Row) -> Iterator[tuple[str, Mapping[str, Any] | Unseen]]:
    sent = row.diff.params
    written = {name: value for name, value in sent.items() if not isinstance(value, Fingerprint) and name[0] != "$"}
    if row.diff.unreadable or not written:
        written = dict(row.payload.params) if row.payload is not None else {}
    body = written if "object" in written else body_of(rules, written)
    statuses = sorted({status for path, status in _statuses(rules) if path == "status"})
    inner = sorted({status for path, status in _statuses(rules) if path == "invoice.status"})
    for status in statuses:
        yield f"status {status}", {**body, "status": status}
    for status in inner:
        yield f"invoice {status}", {**body, "invoice": None if status == "None" else {"id": "in_1", "status": status}}
    if not statuses and not inner:
        yield "seen", body
    elif statuses:
        yield "status unheard_of", {**body, "status": "unheard_of"}
    yield "deleted", Unseen.MISSING
    yield "not answered", Unseen.NOT_ANSWERED


def _statuses(rules: Rules) -> Iterator[tuple[str, str]]:
    for rule in rules.lifecycle.on_removed.values():
        if isinstance(rule, ByStatus):
            yield from ((rule.status_field, status) for status in rule.steps)
    yield from ((fixed.status_field, status) for fixed in rules.lifecycle.fixed for status in fixed.statuses)
    yield from (("status", status) for status in rules.lifecycle.ended)


def _holdings(need: ReadHoldings) -> Iterator[tuple[str, tuple[Holding, ...] | Unseen]]:
    rule, *others = need.rules
    held = Holding(
        resource=rule.resource,
        stripe_id="holder_1",
        parameter=rule.parameter,
        moves=rule.moves,
        ours=False,
        follows=False,
    )
    yield "held by nothing", ()
    yield "held by somebody else's", (held,)
    yield "held by an object of ours", (replace(held, ours=True),)
    yield "held by one that follows", (replace(held, ours=True, follows=True),)
    yield "held by one whose row has left", (replace(held, ours=True, leaving=True),)
    for other in others:
        named = replace(held, resource=other.resource, parameter=other.parameter)
        yield f"held by somebody else's {other.resource}", (named,)
    yield "what holds it is not answered", Unseen.NOT_ANSWERED


# ── all that can come of it ──────────────────────────────────────────────────────────────────────────────────────


def walk(case: Differing) -> Iterator[tuple[tuple[str, ...], Observed, Decision]]:
    """Every decision on a row, with the answers that led to it."""
    waiting: list[tuple[tuple[str, ...], Observed]] = [((), Observed())]
    while waiting:
        path, observed = waiting.pop(0)
        decision = decide(case.rules, case.row, observed)
        yield path, observed, decision
        if isinstance(decision, Ask):
            told = answers(case.rules, case.row, decision.need, observed)
            waiting += [((*path, name), more) for name, more in told]


def all_cases() -> Iterator[Differing]:
    """Every row of every kind."""
    for sold in SOLD:
        yield from differing(sold)
