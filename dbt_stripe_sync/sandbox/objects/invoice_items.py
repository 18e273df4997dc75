"""Invoice items: pending until an invoice includes them, and fixed once that invoice is finalized."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, refuse
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import invoice_totals, invoicing, limits
from dbt_stripe_sync.sandbox.objects.amounts import amount_of, in_currency, rounded
from dbt_stripe_sync.sandbox.objects.discounts import apply_discounts
from dbt_stripe_sync.sandbox.objects.prices import add_price
from dbt_stripe_sync.sandbox.objects.rates import read_rates

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_CHARGE = ("amount", "currency", "quantity", "quantity_decimal", "unit_amount_decimal", "pricing", "price_data")
_SET_SEPARATELY = (
    *_CHARGE,
    "customer",
    "customer_account",
    "discounts",
    "invoice",
    "subscription",
    "tax_behavior",
    "tax_code",
    "tax_rates",
    "invoicing_rules",
)


def charge_of(work: Work, given: dict[str, Any], currency: str | None) -> Body:
    """Return a request's amount, currency, quantity and pricing. Raises `ApiError` if something is missing."""
    quantity = Decimal(str(given.get("quantity_decimal") or given.get("quantity") or 1))
    shown: Body = {"quantity": int(quantity), "quantity_decimal": format(quantity, "f"), "pricing": None}
    price = _price(work, given, currency)
    if price is not None:
        shown["currency"] = (given.get("currency") or currency or price["currency"]).lower()
        shown["amount"] = amount_of(price, int(quantity), shown["currency"])
        shown["pricing"] = price_details(price, shown["currency"])
        return shown
    given_amount, unit = given.get("amount"), given.get("unit_amount_decimal")
    shown["currency"] = (given.get("currency") or currency or "").lower()
    if unit not in (None, ""):
        shown["amount"] = rounded(Decimal(str(unit)) * quantity)
        shown["unit_amount_decimal"] = str(unit)
    else:
        shown["amount"] = int(given_amount)  # type: ignore[arg-type]
    return shown


def price_details(price: Body, currency: str) -> Body:
    """Return a line's reference to its price."""
    return {
        "type": "price_details",
        "price_details": {"price": price["id"], "product": price["product"]},
        "unit_amount_decimal": in_currency(price, currency)["unit_amount_decimal"],
    }


def _price(work: Work, given: dict[str, Any], currency: str | None) -> Body | None:
    named = (given.get("pricing") or {}).get("price")
    if named:
        price = core.reference(work, "price", named, "pricing[price]")
        if not price["active"]:
            raise refuse("The price specified is inactive. This field only accepts active prices.", "pricing[price]")
        if price["type"] == "recurring":
            raise refuse(
                "The price specified is set to `type=recurring` but this field only accepts prices with "
                "`type=one_time`.",
                "pricing[price]",
            )
        return price
    data = given.get("price_data")
    return add_price(work, {"currency": currency, **data}) if data else None


def _create(work: Work, request: ApiRequest) -> Body:
    params = request.params
    invoice = None
    if request.get("invoice"):
        invoice = core.reference(work, "invoice", params["invoice"], "invoice")
        _check_editable(invoice)
    customer = core.customer_of(work, params if invoice is None or request.get("customer") else invoice)
    if invoice is not None:
        limits.check_invoice_room(invoice)
    if invoice is not None and invoice["customer"] != customer["id"]:
        raise refuse("The invoice belongs to another customer.", "invoice")
    body = core.new_body(FAMILY, work)
    body.pop("created")
    body["date"] = work.now
    body["period"] = {"start": work.now, "end": work.now}
    body["customer"] = customer["id"]
    body["test_clock"] = customer["test_clock"]
    if request.get("subscription"):
        subscription = core.reference(work, "subscription", params["subscription"], "subscription")
        body["parent"] = {
            "type": "subscription_details",
            "subscription_details": {"subscription": subscription["id"]},
        }
    _put(work, body, params, (invoice or {}).get("currency"))
    if invoice is not None and invoice["currency"] != body["currency"]:
        raise refuse(f"The invoice is in {invoice['currency']}, the item in {body['currency']}.", "currency")
    if invoice is None:
        limits.check_currency(work, customer["id"], body["currency"])
    if customer["currency"] is None:
        work.edit("customer", customer["id"])["currency"] = body["currency"]
    work.add(FAMILY.kind, body)
    if invoice is not None:
        held = work.edit("invoice", invoice["id"])
        invoicing.put_item(work, held, body)
        invoice_totals.total_up(work, held)
    return body


def _put(work: Work, body: Body, params: dict[str, Any], currency: str | None) -> None:
    apply_params(body, params, leave=_SET_SEPARATELY)
    if any(params.get(name) not in (None, "") for name in _CHARGE if name != "currency"):
        charge = charge_of(work, params, currency)
        charge.pop("unit_amount_decimal", None)
        body.update(charge)
    elif body["amount"] is None:
        charge_of(work, params, currency)
    body["net_amount"] = body["amount"]
    if "tax_rates" in params:
        body["tax_rates"] = read_rates(work, params["tax_rates"], "tax_rates", body["tax_rates"])
    if "discounts" in params:
        body["discounts"] = apply_discounts(
            work, params["discounts"], body["discounts"], customer=body["customer"], invoice_item=body["id"]
        )


def _check_editable(invoice: Body) -> None:
    if invoice["status"] != "draft":
        raise refuse(
            f"The invoice {invoice['id']} is no longer editable, so items can't be added, changed or removed.",
            "invoice",
            "invoice_not_editable",
        )


def _update(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    if body["invoice"] is not None:
        limits.check_frozen(FAMILY.kind, {**body, "invoice": work.get("invoice", body["invoice"])}, request.params)
    if body["proration"] and request.params.get("discountable"):
        raise refuse("A proration can't be discountable.", "discountable")
    given = dict(request.params)
    if "quantity" in given and not {"amount", "pricing", "price_data", "unit_amount_decimal"} & given.keys():
        _keep_price(work, body, given)
    elif {"pricing", "price_data", "unit_amount_decimal"} & given.keys() and not {
        "quantity",
        "quantity_decimal",
    } & given.keys():
        given["quantity_decimal"] = body["quantity_decimal"]
    _put(work, body, given, body["currency"])
    if body["invoice"] is not None:
        invoice = work.edit("invoice", body["invoice"])
        lines = invoice["lines"]["data"]
        lines[:] = [line for line in lines if not _is_of(line, body["id"])]
        invoicing.put_item(work, invoice, body)
        invoice_totals.total_up(work, invoice)
    return body


def _keep_price(work: Work, body: Body, given: dict[str, Any]) -> None:
    """Keep the unit price when only the quantity changes."""
    pricing = body["pricing"]
    if pricing is not None and work.has("price", pricing["price_details"]["price"]):
        given["pricing"] = {"price": pricing["price_details"]["price"]}
    else:
        unit = Decimal(body["amount"]) / Decimal(body["quantity_decimal"])
        given["unit_amount_decimal"] = format(unit, "f")


def _is_of(line: Body, item: str) -> bool:
    details = (line["parent"] or {}).get("invoice_item_details") or {}
    return bool(details.get("invoice_item") == item)


def _delete(work: Work, request: ApiRequest) -> Body:
    body = work.get(FAMILY.kind, request.id)
    if body["invoice"] is not None:
        _check_editable(work.get("invoice", body["invoice"]))
        invoice = work.edit("invoice", body["invoice"])
        invoice["lines"]["data"] = [line for line in invoice["lines"]["data"] if not _is_of(line, body["id"])]
        invoice_totals.total_up(work, invoice)
    return core.delete(FAMILY, work, request)


FAMILY = Family(
    kind="invoice_item",
    object="invoiceitem",
    prefix="ii",
    blank={
        "amount": None,
        "created": 0,
        "currency": None,
        "customer": None,
        "description": None,
        "discountable": True,
        "discounts": [],
        "invoice": None,
        "metadata": {},
        "net_amount": 0,
        "parent": None,
        "period": None,
        "pricing": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
    },
    operations={"create": _create, "update": _update, "delete": _delete},
    filters={"pending": lambda _work, body, pending: (body["invoice"] is None) is pending, "created": "date"},
)
FAMILIES = (FAMILY,)
