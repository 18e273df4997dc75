"""Quotes: draft, open, accepted, canceled (docs.stripe.com/quotes/overview)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, ExtraRoute, Family, refuse
from dbt_stripe_sync.sandbox.listing import in_list, page_of
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import invoice_totals, invoicing, limits
from dbt_stripe_sync.sandbox.objects.discounts import apply_discounts, discount_amounts
from dbt_stripe_sync.sandbox.objects.invoice_items import price_details
from dbt_stripe_sync.sandbox.objects.offers import build_items, check_mode
from dbt_stripe_sync.sandbox.objects.periods import DAY
from dbt_stripe_sync.sandbox.objects.rates import read_rates
from dbt_stripe_sync.sandbox.objects.subscription_changes import create_subscription

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

OPEN_DAYS = 30
_SET_SEPARATELY = (
    "customer",
    "customer_account",
    "line_items",
    "discounts",
    "default_tax_rates",
    "from_quote",
    "invoice_settings",
    "subscription_data",
    "automatic_tax",
)


def _create(work: Work, request: ApiRequest) -> Body:
    body = core.new_body(FAMILY, work)
    body["expires_at"] = work.now + OPEN_DAYS * DAY
    work.add(FAMILY.kind, body, hidden={"items": []})
    source = request.get("from_quote")
    if source:
        _copy(work, body, source)
    _put(work, body, request.params)
    _total(work, body)
    return body


def _copy(work: Work, body: Body, given: Body) -> None:
    source = core.reference(work, FAMILY.kind, given["quote"], "from_quote[quote]")
    kept = ("id", "created", "status", "number", "expires_at", "status_transitions", "invoice", "subscription")
    body.update({key: value for key, value in source.items() if key not in kept})
    body["from_quote"] = {"is_revision": bool(given.get("is_revision")), "quote": source["id"]}
    work.hidden(FAMILY.kind, body["id"])["items"] = work.read_hidden(FAMILY.kind, source["id"])["items"]


def _put(work: Work, body: Body, params: dict[str, Any]) -> None:
    apply_params(body, params, leave=_SET_SEPARATELY)
    if params.get("customer"):
        customer = core.reference(work, "customer", params["customer"], "customer")
        body["customer"], body["test_clock"] = customer["id"], customer["test_clock"]
    elif params.get("customer") == "":
        body["customer"] = None
    hidden = work.hidden(FAMILY.kind, body["id"])
    if "line_items" in params:
        hidden["items"] = build_items(work, params["line_items"] or [], hidden["items"])
    if hidden["items"]:
        check_mode(FAMILY.kind, hidden["items"], params)
    if "default_tax_rates" in params:
        rates = read_rates(work, params["default_tax_rates"], "default_tax_rates", body["default_tax_rates"])
        body["default_tax_rates"] = [rate["id"] for rate in rates]
    if "discounts" in params:
        on = {"customer": body["customer"]} if body["customer"] else {}
        body["discounts"] = apply_discounts(work, params["discounts"], body["discounts"], **on)
    for name in ("invoice_settings", "subscription_data", "automatic_tax"):
        if params.get(name):
            given = {key: value if value != "" else None for key, value in params[name].items()}
            body[name] = {**body[name], **given}
    if body["subscription_data"]["effective_date"] == "current_period_end":
        body["subscription_data"]["effective_date"] = None


def _total(work: Work, body: Body) -> None:
    items = work.read_hidden(FAMILY.kind, body["id"])["items"]
    currencies = {item["currency"] for item in items}
    if len(currencies) > 1:
        raise refuse("All line items of a quote must have the same currency.", "line_items")
    body["currency"] = next(iter(currencies), None)
    subtotal = sum(item["amount_subtotal"] for item in items)
    off = sum(d["amount"] for d in discount_amounts(work, body["discounts"], subtotal, body["currency"] or ""))
    details = {"amount_discount": off, "amount_shipping": 0, "amount_tax": 0}
    body.update(amount_subtotal=subtotal, amount_total=subtotal - off, total_details=details)
    recurring = [item for item in items if item["price"]["type"] == "recurring"]
    body["computed"] = {
        "recurring": None,
        "upfront": {"amount_subtotal": subtotal, "amount_total": subtotal - off, "total_details": details},
    }
    if recurring:
        again = sum(item["amount_subtotal"] for item in recurring)
        cycle = recurring[0]["price"]["recurring"]
        body["computed"]["recurring"] = {
            "amount_subtotal": again,
            "amount_total": max(0, again - off),
            "interval": cycle["interval"],
            "interval_count": cycle["interval_count"],
            "total_details": details,
        }


def _update(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    limits.check_frozen(FAMILY.kind, body, request.params)
    if body["customer"] and request.params.get("customer", body["customer"]) != body["customer"]:
        raise refuse("The customer of a quote can't be changed once it is set.", "customer")
    _put(work, body, request.params)
    if body["status"] == "draft":
        _total(work, body)
    return body


def _finalize(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    _check(body, "finalize", "draft")
    if body["customer"] is None:
        raise refuse("A quote must have a customer before it can be finalized.", "customer")
    if not work.read_hidden(FAMILY.kind, request.id)["items"]:
        raise refuse("A quote must have line items before it can be finalized.", "line_items")
    if request.get("expires_at"):
        body["expires_at"] = int(request.params["expires_at"])
    customer = work.edit("customer", body["customer"])
    count = sum(1 for quote in work.find(FAMILY.kind, {"customer": customer["id"]}) if quote["number"])
    body["number"] = f"QT-{customer['invoice_prefix']}-{count + 1:04d}-1"
    body["status"] = "open"
    body["status_transitions"]["finalized_at"] = work.now
    return body


def _check(body: Body, verb: str, *statuses: str) -> None:
    if body["status"] not in statuses:
        raise refuse(f"You can only {verb} a quote whose status is {' or '.join(statuses)}, not {body['status']}.")


def _accept(work: Work, request: ApiRequest) -> Body:
    """Accept a quote: this creates a subscription if it has recurring prices, otherwise a draft invoice."""
    body = work.edit(FAMILY.kind, request.id)
    _check(body, "accept", "open")
    items = work.read_hidden(FAMILY.kind, request.id)["items"]
    recurring = [item for item in items if item["price"]["type"] == "recurring"]
    once = [item for item in items if item["price"]["type"] != "recurring"]
    if recurring:
        body["subscription"] = _subscribe(work, body, recurring, once)
    else:
        body["invoice"] = _invoice(work, body, once)
    body["status"] = "accepted"
    body["status_transitions"]["accepted_at"] = work.now
    return body


def _subscribe(work: Work, body: Body, recurring: list[Body], once: list[Body]) -> str:
    # A guess: `quote-dates`.
    data = body["subscription_data"]
    params: dict[str, Any] = {
        "customer": body["customer"],
        "items": [_as_item(item) for item in recurring],
        "add_invoice_items": [_as_item(item) for item in once],
        "collection_method": body["collection_method"],
        "discounts": [{"discount": id_} for id_ in body["discounts"]],
        "default_tax_rates": body["default_tax_rates"],
        "billing_mode": data["billing_mode"],
        "metadata": data["metadata"] or {},
    }
    if data["description"]:
        params["description"] = data["description"]
    if data["trial_period_days"]:
        params["trial_period_days"] = data["trial_period_days"]
    if body["collection_method"] == "send_invoice":
        params["days_until_due"] = body["invoice_settings"]["days_until_due"] or OPEN_DAYS
    subscription = create_subscription(work, params)
    body["invoice"] = subscription["latest_invoice"]
    return str(subscription["id"])


def _as_item(item: Body) -> Body:
    metered = (item["price"]["recurring"] or {}).get("usage_type") == "metered"
    return {"price": item["price"]["id"], **({} if metered else {"quantity": item["quantity"]})}


def _invoice(work: Work, body: Body, items: list[Body]) -> str:
    customer = work.get("customer", body["customer"])
    parent = {"type": "quote_details", "quote_details": {"quote": body["id"]}, "subscription_details": None}
    invoice = invoicing.new_invoice(
        work,
        customer,
        body["currency"],
        parent=parent,
        collection_method=body["collection_method"],
        discounts=list(body["discounts"]),
        default_tax_rates=read_rates(work, body["default_tax_rates"], "default_tax_rates"),
    )
    if body["collection_method"] == "send_invoice":
        invoice["due_date"] = invoicing.due_date(work, body["invoice_settings"]["days_until_due"] or OPEN_DAYS)
    for item in items:
        invoicing.add_line(
            invoice,
            item["amount_subtotal"],
            description=item["description"],
            pricing=price_details(work.get("price", item["price"]["id"]), body["currency"]),
            quantity=item["quantity"],
            quantity_decimal=str(item["quantity"]),
        )
    invoice_totals.total_up(work, invoice)
    return str(invoice["id"])


def _cancel(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    _check(body, "cancel", "draft", "open")
    body["status"] = "canceled"
    body["status_transitions"]["canceled_at"] = work.now
    return body


def _tick(work: Work, body: Body) -> None:
    # SDK's description of `expires_at`: canceled then if in `open` or `draft` status.
    if body["status"] in {"open", "draft"} and body["expires_at"] <= work.now:
        held = work.edit(FAMILY.kind, body["id"])
        held["status"] = "canceled"
        held["status_transitions"]["canceled_at"] = work.now


def _items(work: Work, request: ApiRequest) -> Body:
    quote = work.get(FAMILY.kind, request.path["quote"], param="quote")
    return page_of(work.read_hidden(FAMILY.kind, quote["id"])["items"], request)


def _line_items(work: Work, body: Body) -> Body:
    return in_list(work.read_hidden(FAMILY.kind, body["id"])["items"], f"/v1/quotes/{body['id']}/line_items")


FAMILY = Family(
    kind="quote",
    object="quote",
    prefix="qt",
    blank={
        "application": None,
        "application_fee_amount": None,
        "application_fee_percent": None,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "computed": None,
        "currency": None,
        "customer": None,
        "default_tax_rates": [],
        "description": None,
        "footer": None,
        "from_quote": None,
        "header": None,
        "invoice": None,
        "invoice_settings": {"days_until_due": None, "issuer": {"type": "self"}},
        "number": None,
        "on_behalf_of": None,
        "status": "draft",
        "status_transitions": {"accepted_at": None, "canceled_at": None, "finalized_at": None},
        "subscription": None,
        "subscription_data": {
            "billing_mode": {"type": "flexible"},
            "description": None,
            "effective_date": None,
            "metadata": None,
            "trial_period_days": None,
        },
        "subscription_schedule": None,
        "test_clock": None,
        "total_details": None,
        "transfer_data": None,
    },
    operations={
        "create": _create,
        "update": _update,
        "finalize_quote": _finalize,
        "accept": _accept,
        "cancel": _cancel,
    },
    computed={"line_items": _line_items},
    test_clock_filters=("test_clock", "customer", "customer_account"),
    tick=_tick,
    routes=(
        ExtraRoute(name="list_line_items", method="get", path="/v1/quotes/{quote}/line_items", handler=_items),
        ExtraRoute(
            name="list_computed_upfront_line_items",
            method="get",
            path="/v1/quotes/{quote}/computed_upfront_line_items",
            handler=_items,
        ),
    ),
)
FAMILIES = (FAMILY,)
