"""Credit notes, which reduce a finalized invoice (docs.stripe.com/invoicing/dashboard/credit-notes)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, ExtraRoute, Family, refuse
from dbt_stripe_sync.sandbox.ids import new_id
from dbt_stripe_sync.sandbox.listing import in_list, page_of
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import invoice_payment, invoice_totals
from dbt_stripe_sync.sandbox.objects.customers import add_to_balance

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_SET_SEPARATELY = (
    "amount",
    "lines",
    "credit_amount",
    "refund_amount",
    "refunds",
    "out_of_band_amount",
    "shipping_cost",
    "email_type",
)


def _build(work: Work, request: ApiRequest) -> Body:
    params = request.params
    invoice = core.reference(work, "invoice", params["invoice"], "invoice")
    if invoice["status"] not in {"open", "paid"}:
        raise refuse(
            f"A credit note can only be created for an open or paid invoice; this one is {invoice['status']}.",
            "invoice",
        )
    body = core.new_body(FAMILY, work)
    lines = _lines(invoice, request)
    subtotal = sum(line["amount"] for line in lines)
    if subtotal <= 0:
        raise refuse("You must pass either `amount`, `lines` or `shipping_cost`, for more than 0.", "amount")
    credited = sum(
        note["amount"] for note in work.find(FAMILY.kind, {"invoice": invoice["id"]}) if note["status"] != "void"
    )
    if credited + subtotal > invoice["total"]:
        raise refuse("The total of the credit notes exceeds what the invoice was for.", "amount")
    apply_params(body, params, leave=_SET_SEPARATELY)
    open_part = min(subtotal, invoice["amount_remaining"]) if invoice["status"] == "open" else 0
    body.update(
        amount=subtotal,
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal,
        total=subtotal,
        total_excluding_tax=subtotal,
        currency=invoice["currency"],
        customer=invoice["customer"],
        number=f"{invoice['number']}-CN-{len(work.find(FAMILY.kind, {'invoice': invoice['id']})) + 1:02d}",
        effective_at=request.get("effective_at") or work.now,
        pre_payment_amount=open_part,
        post_payment_amount=subtotal - open_part,
        lines=in_list(lines, f"/v1/credit_notes/{body['id']}/lines"),
        pdf=f"https://pay.stripe.com/credit_notes/acct_sandbox/{body['id']}/pdf?s=ap",
    )
    body["type"] = "pre_payment" if open_part == subtotal else "mixed" if open_part else "post_payment"
    return body


def _lines(invoice: Body, request: ApiRequest) -> list[Body]:
    given = request.get("lines")
    if given is None:
        amount = request.get("amount")
        if amount is None:
            amount = sum(int(request.get(name, 0)) for name in ("credit_amount", "refund_amount", "out_of_band_amount"))
        return [_line(invoice, int(amount), type="custom_line_item", description="Credit")]
    known = {line["id"]: line for line in invoice["lines"]["data"]}
    lines = []
    for index, item in enumerate(given):
        if item["type"] == "custom_line_item":
            if invoice["automatic_tax"]["enabled"]:
                raise refuse("Custom lines aren't valid for an invoice with automatic tax.", f"lines[{index}][type]")
            quantity = int(item.get("quantity") or 1)
            unit = item.get("unit_amount") or float(item.get("unit_amount_decimal") or 0)
            shown = {"type": "custom_line_item", "description": item.get("description"), "quantity": quantity}
            lines.append(_line(invoice, round(float(unit) * quantity), **shown, unit_amount=int(unit)))
            continue
        source = known.get(item.get("invoice_line_item", ""))
        if source is None:
            raise refuse(
                f"No such invoice line item: '{item.get('invoice_line_item')}'",
                f"lines[{index}][invoice_line_item]",
                "resource_missing",
            )
        whole = source["quantity"] or 1
        amount = item.get("amount")
        if amount is None:
            amount = source["amount"] * int(item.get("quantity") or whole) // whole
        shown = {"type": "invoice_line_item", "description": source["description"], "quantity": item.get("quantity")}
        lines.append(_line(invoice, int(amount), **shown, invoice_line_item=source["id"]))
    return lines


def _line(invoice: Body, amount: int, **shown: Any) -> Body:
    return {
        "id": new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": invoice["livemode"],
        "pretax_credit_amounts": [],
        "quantity": None,
        "tax_rates": [],
        "taxes": [],
        "unit_amount": None,
        "unit_amount_decimal": None,
        **shown,
    }


def _create(work: Work, request: ApiRequest) -> Body:
    body = _build(work, request)
    after = body["post_payment_amount"]
    named = {name: int(request.get(name, 0)) for name in ("credit_amount", "refund_amount", "out_of_band_amount")}
    if after and sum(named.values()) != after:
        raise refuse(
            f"The sum of credit amount, refund amount and out of band amount ({sum(named.values())}) must equal the "
            f"post payment amount ({after}).",
            "credit_amount",
        )
    invoice = work.edit("invoice", body["invoice"])
    invoice["pre_payment_credit_notes_amount"] += body["pre_payment_amount"]
    invoice["post_payment_credit_notes_amount"] += after
    work.add(FAMILY.kind, body)
    if named["credit_amount"] and after:
        customer = work.edit("customer", body["customer"])
        moved = add_to_balance(
            work, customer, -named["credit_amount"], body["currency"], "credit_note", credit_note=body["id"]
        )
        body["customer_balance_transaction"] = moved["id"]
    body["out_of_band_amount"] = named["out_of_band_amount"] or None
    if invoice["status"] == "open":
        invoice_totals.update_amount_due(invoice)
        if invoice["amount_remaining"] == 0:
            invoice_payment.mark_paid(work, invoice)
    return body


def _preview(work: Work, request: ApiRequest) -> Body:
    for name in ("amount", "credit_amount", "refund_amount", "out_of_band_amount"):
        if name in request.params:
            request.params[name] = int(request.params[name])
    return _build(work, request)


def _void(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    if body["status"] == "void":
        raise refuse("This credit note is already void.")
    invoice = work.edit("invoice", body["invoice"])
    if invoice["status"] != "open":
        raise refuse("You can only void a credit note whose invoice is open.")
    body.update(status="void", voided_at=work.now)
    invoice["pre_payment_credit_notes_amount"] -= body["pre_payment_amount"]
    invoice_totals.update_amount_due(invoice)
    return body


def _list_lines(work: Work, request: ApiRequest) -> Body:
    return page_of(work.get(FAMILY.kind, request.path["credit_note"])["lines"]["data"], request)


FAMILY = Family(
    kind="credit_note",
    object="credit_note",
    prefix="cn",
    blank={
        "currency": None,
        "customer": None,
        "customer_balance_transaction": None,
        "effective_at": None,
        "invoice": None,
        "lines": None,
        "memo": None,
        "metadata": {},
        "number": None,
        "out_of_band_amount": None,
        "pdf": None,
        "reason": None,
        "shipping_cost": None,
        "subtotal_excluding_tax": None,
        "total_excluding_tax": None,
        "total_taxes": [],
        "type": "pre_payment",
        "voided_at": None,
    },
    operations={"create": _create, "preview": _preview, "void_credit_note": _void},
    routes=(
        ExtraRoute(name="list_lines", method="get", path="/v1/credit_notes/{credit_note}/lines", handler=_list_lines),
    ),
)
FAMILIES = (FAMILY,)
