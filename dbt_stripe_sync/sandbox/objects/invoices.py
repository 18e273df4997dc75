"""Invoices: draft, open, paid, void, uncollectible (docs.stripe.com/invoicing/overview)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.errors import declined
from dbt_stripe_sync.sandbox.family import ApiRequest, ExtraRoute, Family, refuse
from dbt_stripe_sync.sandbox.listing import DEFAULT_LIMIT, page_of
from dbt_stripe_sync.sandbox.merging import apply_params, merge_metadata, plain
from dbt_stripe_sync.sandbox.objects import invoice_payment, invoice_totals, invoicing, limits
from dbt_stripe_sync.sandbox.objects.customers import full_shipping
from dbt_stripe_sync.sandbox.objects.cycles import subscription_parent
from dbt_stripe_sync.sandbox.objects.discounts import apply_discounts
from dbt_stripe_sync.sandbox.objects.invoice_items import charge_of
from dbt_stripe_sync.sandbox.objects.previews import preview_invoice
from dbt_stripe_sync.sandbox.objects.rates import read_rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

HOUR = 3600
_RENDERING: Body = {"amount_tax_display": None, "pdf": None, "template": None, "template_version": None}
_SET_SEPARATELY = (
    "customer",
    "customer_account",
    "currency",
    "subscription",
    "pending_invoice_items_behavior",
    "from_invoice",
    "days_until_due",
    "discounts",
    "default_tax_rates",
    "issuer",
    "automatic_tax",
    "payment_settings",
    "rendering",
    "shipping_cost",
    "shipping_details",
    "application_fee_amount",
    "transfer_data",
)


def _create(work: Work, request: ApiRequest) -> Body:
    params = request.params
    customer = core.customer_of(work, _object_billed(work, request))
    currency = (request.get("currency") or customer["currency"] or "usd").lower()
    invoice = invoicing.new_invoice(work, customer, currency)
    subscription = request.get("subscription")
    if subscription:
        found = core.reference(work, "subscription", subscription, "subscription")
        invoice["parent"] = subscription_parent(found)
        invoice["currency"] = found["currency"]
        invoice["billing_reason"] = "manual"
    _put(work, invoice, params)
    if request.get("pending_invoice_items_behavior") == "include" or subscription:
        invoicing.add_pending_items(work, invoice, subscription=subscription)
    invoice_totals.total_up(work, invoice)
    if invoice["auto_advance"]:
        invoice["automatically_finalizes_at"] = invoice["automatically_finalizes_at"] or work.now + HOUR
    return invoice


def _object_billed(work: Work, request: ApiRequest) -> Mapping[str, Any]:
    """Return what names the customer to bill: the request, or the object that it refers to."""
    if request.get("customer") or request.get("customer_account"):
        return request.params
    revised = request.get("from_invoice")
    if revised:
        return core.reference(work, FAMILY.kind, revised["invoice"], "from_invoice[invoice]")
    return core.reference(work, "subscription", request.params["subscription"], "subscription")


def _put(work: Work, invoice: Body, params: dict[str, Any]) -> None:
    method = params.get("default_payment_method")
    limits.check_payment_method(work, method, invoice["customer"], "default_payment_method")
    apply_params(invoice, params, leave=_SET_SEPARATELY)
    if params.get("days_until_due") not in (None, ""):
        invoice["due_date"] = invoicing.due_date(work, int(params["days_until_due"]))
    if "default_tax_rates" in params:
        invoice["default_tax_rates"] = read_rates(
            work, params["default_tax_rates"], "default_tax_rates", invoice["default_tax_rates"]
        )
    if "discounts" in params:
        invoice["discounts"] = apply_discounts(
            work, params["discounts"], invoice["discounts"], customer=invoice["customer"], invoice=invoice["id"]
        )
    for name in ("issuer", "automatic_tax", "payment_settings"):
        if params.get(name):
            invoice[name] = {**invoice[name], **plain(params[name])}
    if params.get("rendering"):
        invoice["rendering"] = {**(invoice["rendering"] or _RENDERING), **plain(params["rendering"])}
    _put_shipping(work, invoice, params)


def _put_shipping(work: Work, invoice: Body, params: dict[str, Any]) -> None:
    if "shipping_details" in params:
        invoice["shipping_details"] = full_shipping(params["shipping_details"])
    if "shipping_cost" not in params:
        return
    cost = params["shipping_cost"] or None
    if cost is None:
        invoice["shipping_cost"] = None
        return
    amount = 0
    if cost.get("shipping_rate"):
        rate = core.reference(work, "shipping_rate", cost["shipping_rate"], "shipping_cost[shipping_rate]")
        amount = rate["fixed_amount"]["amount"]
    elif cost.get("shipping_rate_data"):
        amount = (cost["shipping_rate_data"].get("fixed_amount") or {}).get("amount", 0)
    invoice["shipping_cost"] = {
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "shipping_rate": cost.get("shipping_rate"),
    }


def _update(work: Work, request: ApiRequest) -> Body:
    invoice = work.edit(FAMILY.kind, request.id)
    limits.check_frozen(FAMILY.kind, invoice, request.params)
    _put(work, invoice, request.params)
    if invoice["status"] == "draft":
        if request.get("auto_advance") and invoice["automatically_finalizes_at"] is None:
            invoice["automatically_finalizes_at"] = work.now + HOUR
        invoice_totals.total_up(work, invoice)
    return invoice


def _delete(work: Work, request: ApiRequest) -> Body:
    """Delete a draft, unless a subscription created it (docs.stripe.com/api/invoices/delete)."""
    invoice = work.get(FAMILY.kind, request.id)
    if invoice["status"] != "draft":
        raise refuse(
            "You can only delete draft invoices. To cancel a finalized invoice, void it instead.",
            None,
            "invoice_not_editable",
        )
    if invoice["billing_reason"] != "manual":
        raise refuse("You can't delete invoices created by subscriptions.")
    # A guess: `deleted-drafts`.
    for item in work.find("invoice_item", {"invoice": request.id}):
        work.edit("invoice_item", item["id"])["invoice"] = None
    return core.delete(FAMILY, work, request)


def _finalize(work: Work, request: ApiRequest) -> Body:
    invoice = work.edit(FAMILY.kind, request.id)
    if "auto_advance" in request.params:
        invoice["auto_advance"] = request.params["auto_advance"]
    invoice_payment.finalize(work, invoice)
    return invoice


def _pay(work: Work, request: ApiRequest) -> Body:
    invoice = work.edit(FAMILY.kind, request.id)
    if invoice["status"] == "paid":
        raise refuse("Invoice is already paid", None, "invoice_already_paid")
    if invoice["status"] == "draft":
        invoice_payment.finalize(work, invoice)
        if invoice["status"] == "paid":
            return invoice
    if invoice["status"] not in {"open", "uncollectible"}:
        raise refuse(f"This invoice can't be paid: it is {invoice['status']}.", None, "invoice_not_payable")
    if request.get("paid_out_of_band"):
        invoice_payment.mark_paid(work, invoice, off_stripe=True)
        return invoice
    if request.get("payment_method") in invoice_payment.DECLINED or not invoice_payment.collect(work, invoice):
        raise declined()
    return invoice


def _void(work: Work, request: ApiRequest) -> Body:
    invoice = work.edit(FAMILY.kind, request.id)
    if invoice["status"] not in {"open", "uncollectible"}:
        raise refuse(f"You can only void open or uncollectible invoices. This invoice is {invoice['status']}.")
    invoice.update(status="void", auto_advance=False, next_payment_attempt=None)
    invoice["status_transitions"]["voided_at"] = work.now
    return invoice


def _mark_uncollectible(work: Work, request: ApiRequest) -> Body:
    invoice = work.edit(FAMILY.kind, request.id)
    if invoice["status"] != "open":
        raise refuse(f"You can only mark open invoices as uncollectible. This invoice is {invoice['status']}.")
    invoice.update(status="uncollectible", auto_advance=False)
    invoice["status_transitions"]["marked_uncollectible_at"] = work.now
    return invoice


def _send(work: Work, request: ApiRequest) -> Body:
    invoice = work.edit(FAMILY.kind, request.id)
    if invoice["collection_method"] != "send_invoice":
        raise refuse("You can only manually send an invoice if its collection method is 'send_invoice'.")
    if invoice["status"] == "draft":
        invoice_payment.finalize(work, invoice)
    if invoice["status"] in {"void", "uncollectible"}:
        raise refuse(f"This invoice can't be sent: it is {invoice['status']}.")
    return invoice


def _change_lines(work: Work, request: ApiRequest) -> Body:
    invoice = work.edit(FAMILY.kind, request.path["invoice"])
    if invoice["status"] != "draft":
        raise refuse("This invoice is no longer editable.", None, "invoice_not_editable")
    if "invoice_metadata" in request.params:
        invoice["metadata"] = merge_metadata(invoice["metadata"], request.params["invoice_metadata"])
    changes = {"add_lines": _add_line, "remove_lines": _remove_line, "update_lines": _update_line}
    if request.operation == "add_lines":
        limits.check_invoice_room(invoice, len(request.params["lines"]))
    for given in request.params["lines"]:
        changes[request.operation](work, invoice, given)
    invoice_totals.total_up(work, invoice)
    return invoice


def _add_line(work: Work, invoice: Body, given: Body) -> None:
    if given.get("invoice_item"):
        item = core.reference(work, "invoice_item", given["invoice_item"], "lines[invoice_item]")
        if item["invoice"] is not None:
            raise refuse(f"The invoice item {item['id']} is already attached to an invoice.", "lines")
        invoicing.put_item(work, invoice, item)
        return
    shown = charge_of(work, {"currency": invoice["currency"], **given}, invoice["currency"])
    line = invoicing.add_line(invoice, shown.pop("amount"))
    line.update({key: value for key, value in shown.items() if key in line})
    line["subtotal"] = line["amount"]
    apply_params(
        line, {key: given[key] for key in ("description", "discountable", "metadata", "period") if key in given}
    )


def _line(invoice: Body, id_: str) -> Body:
    for line in invoice["lines"]["data"]:
        if line["id"] == id_:
            return dict(line)
    raise refuse(f"No such line item: '{id_}'", "lines", "resource_missing")


def _remove_line(work: Work, invoice: Body, given: Body) -> None:
    line = _line(invoice, given["id"])
    invoice["lines"]["data"] = [one for one in invoice["lines"]["data"] if one["id"] != line["id"]]
    item = ((line["parent"] or {}).get("invoice_item_details") or {}).get("invoice_item")
    if item and given.get("behavior") == "unassign":
        work.edit("invoice_item", item)["invoice"] = None
    elif item:
        work.remove("invoice_item", item)


def _update_line(work: Work, invoice: Body, given: Body) -> None:
    changed = _line(invoice, given["id"])
    if {"amount", "quantity", "pricing", "price_data"} & given.keys():
        charge = charge_of(work, {"currency": invoice["currency"], **given}, invoice["currency"])
        changed.update({key: value for key, value in charge.items() if key in changed})
        changed["subtotal"] = changed["amount"]
    apply_params(changed, {k: given[k] for k in ("description", "discountable", "metadata", "period") if k in given})
    invoice["lines"]["data"] = [changed if line["id"] == changed["id"] else line for line in invoice["lines"]["data"]]


def _lines(work: Work, request: ApiRequest) -> Body:
    invoice = work.get(FAMILY.kind, request.path["invoice"], param="invoice")
    return page_of([invoicing.shown_line(line) for line in invoice["lines"]["data"]], request)


def _render(_work: Work, invoice: Body) -> Body:
    lines = invoice["lines"]
    shown = {
        **lines,
        "data": [invoicing.shown_line(line) for line in lines["data"][:DEFAULT_LIMIT]],
        "has_more": len(lines["data"]) > DEFAULT_LIMIT,
    }
    return {**invoice, "lines": shown}


def _tick(work: Work, invoice: Body) -> None:
    due = invoice["automatically_finalizes_at"]
    if invoice["status"] == "draft" and due is not None and due <= work.now:
        advanced = work.edit(FAMILY.kind, invoice["id"])
        invoice_payment.finalize(work, advanced)
        if advanced["status"] == "open" and advanced["collection_method"] == "charge_automatically":
            invoice_payment.collect(work, advanced)


FAMILY = Family(
    kind="invoice",
    object="invoice",
    prefix="in",
    blank=invoicing.INVOICE_BLANK,
    operations={
        "create": _create,
        "update": _update,
        "delete": _delete,
        "finalize_invoice": _finalize,
        "pay": _pay,
        "void_invoice": _void,
        "mark_uncollectible": _mark_uncollectible,
        "send_invoice": _send,
        "add_lines": _change_lines,
        "remove_lines": _change_lines,
        "update_lines": _change_lines,
        "create_preview": preview_invoice,
    },
    filters={"subscription": "parent.subscription_details.subscription"},
    render=_render,
    tick=_tick,
    routes=(ExtraRoute(name="list_lines", method="get", path="/v1/invoices/{invoice}/lines", handler=_lines),),
)
FAMILIES = (FAMILY,)
