"""Customers with their tax ids and balance transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, refuse
from dbt_stripe_sync.sandbox.ids import new_code
from dbt_stripe_sync.sandbox.listing import in_list
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import limits

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_INVOICE_SETTINGS = {"custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None}
_BLANK: Body = {
    "address": None,
    "balance": 0,
    "currency": None,
    "default_source": None,
    "delinquent": False,
    "description": None,
    "discount": None,
    "email": None,
    "invoice_prefix": None,
    "invoice_settings": _INVOICE_SETTINGS,
    "metadata": {},
    "name": None,
    "next_invoice_sequence": 1,
    "phone": None,
    "preferred_locales": [],
    "shipping": None,
    "tax_exempt": "none",
    "test_clock": None,
}
_ADDRESS = {"city": None, "country": None, "line1": None, "line2": None, "postal_code": None, "state": None}
_NOT_SHOWN = ("tax_id_data", "source", "payment_method", "validate", "tax", "cash_balance", "balance")


def _put(work: Work, body: Body, request: ApiRequest) -> None:
    params = request.params
    apply_params(body, params, leave=(*_NOT_SHOWN, "invoice_settings", "address", "shipping"))
    if "address" in params:
        body["address"] = full_address(params["address"])
    if "shipping" in params:
        body["shipping"] = full_shipping(params["shipping"])
    if "invoice_settings" in params:
        settings = params["invoice_settings"] or {}
        body["invoice_settings"] = {**body["invoice_settings"], **{k: v or None for k, v in settings.items()}}
    for name in ("business_name", "individual_name"):
        if body.get(name, "") is None:
            del body[name]
    if body.get("preferred_locales") is None:
        body["preferred_locales"] = []
    if params.get("tax_exempt") == "":
        body["tax_exempt"] = "none"
    if "balance" in params and int(params["balance"]) != body["balance"]:
        add_to_balance(work, body, int(params["balance"]) - body["balance"], body["currency"] or "usd", "adjustment")
    _check_payment_method(work, body, request)
    if request.get("test_clock"):
        core.reference(work, "test_helpers.test_clock", request.params["test_clock"], "test_clock")


def _check_payment_method(work: Work, body: Body, request: ApiRequest) -> None:
    """Check a request's payment methods, and attach the one that comes with the customer.

    See docs.stripe.com/api/customers/create.
    """
    given = request.get("payment_method")
    limits.check_payment_method(work, given, None, "payment_method")
    if given and work.has("payment_method", given):
        work.edit("payment_method", given)["customer"] = body["id"]
    default = (request.get("invoice_settings") or {}).get("default_payment_method")
    limits.check_payment_method(work, default, body["id"], "invoice_settings[default_payment_method]")


def full_address(given: Any) -> Body | None:
    """Return an address with all six of its fields, as objects show it."""
    return None if not given else {**_ADDRESS, **{key: value or None for key, value in given.items()}}


def full_shipping(given: Any) -> Body | None:
    """Return shipping details as objects show them."""
    if not given:
        return None
    return {
        "address": full_address(given.get("address") or {}),
        "name": given["name"],
        "phone": given.get("phone") or None,
    }


def create_customer(work: Work, request: ApiRequest) -> Body:
    """Create a customer, with tax ids from its `tax_id_data`."""
    body = core.new_body(CUSTOMER, work)
    body["invoice_prefix"] = new_code()
    work.add(CUSTOMER.kind, body)
    _put(work, body, request)
    for item in request.get("tax_id_data", []):
        _add_tax_id(work, body["id"], item)
    return body


def update_customer(work: Work, request: ApiRequest) -> Body:
    """Update a customer."""
    body = work.edit(CUSTOMER.kind, request.id)
    _put(work, body, request)
    return body


def delete_customer(work: Work, request: ApiRequest) -> Body:
    """Delete a customer and cancel its subscriptions (docs.stripe.com/api/customers/delete)."""
    for subscription in work.find("subscription", {"customer": request.id}):
        if subscription["status"] not in {"canceled", "incomplete_expired"}:
            changed = work.edit("subscription", subscription["id"])
            changed["status"] = "canceled"
            changed["canceled_at"] = changed["ended_at"] = work.now
    for tax_id in work.find("customer.tax_id", {"customer": request.id}):
        work.remove("customer.tax_id", tax_id["id"])
    return core.delete(CUSTOMER, work, request)


def add_to_balance(work: Work, customer: Body, amount: int, currency: str, type_: str, **shown: Any) -> Body:
    """Change the credit balance of a customer that is being edited, and store the transaction."""
    customer["balance"] += amount
    customer["currency"] = customer["currency"] or currency
    body = core.new_body(BALANCE_TRANSACTION, work)
    body.update(
        customer=customer["id"],
        amount=amount,
        currency=currency,
        type=type_,
        ending_balance=customer["balance"],
        **shown,
    )
    return work.add(BALANCE_TRANSACTION.kind, body)


def _create_balance_transaction(work: Work, request: ApiRequest) -> Body:
    customer = work.edit(CUSTOMER.kind, request.path["customer"], param="customer")
    currency = request.params["currency"].lower()
    if customer["currency"] not in (None, currency):
        raise refuse(
            f"You cannot combine currencies on a single customer. This customer has a balance in "
            f"{customer['currency']}.",
            "currency",
        )
    body = add_to_balance(work, customer, int(request.params["amount"]), currency, "adjustment")
    apply_params(body, request.params, leave=("amount", "currency"))
    return body


def _add_tax_id(work: Work, customer: str, given: Body) -> Body:
    body = core.new_body(TAX_ID, work)
    body.update(customer=customer, type=given["type"], value=given["value"], country=_country(given["type"]))
    body["owner"] = {"customer": customer, "type": "customer"}
    return work.add(TAX_ID.kind, body)


def _country(type_: str) -> str | None:
    return None if type_ == "eu_vat" else type_.partition("_")[0].upper()


def _create_tax_id(work: Work, request: ApiRequest) -> Body:
    customer = core.reference(work, CUSTOMER.kind, request.path["customer"], "customer")
    return _add_tax_id(work, customer["id"], request.params)


def _tax_ids(work: Work, customer: Body) -> Body:
    return in_list(work.find(TAX_ID.kind, {"customer": customer["id"]}), f"/v1/customers/{customer['id']}/tax_ids")


def _subscriptions(work: Work, customer: Body) -> Body:
    live = [s for s in work.find("subscription", {"customer": customer["id"]}) if s["status"] != "canceled"]
    return in_list(live, f"/v1/customers/{customer['id']}/subscriptions")


CUSTOMER = Family(
    kind="customer",
    object="customer",
    prefix="cus",
    blank=_BLANK,
    operations={"create": create_customer, "update": update_customer, "delete": delete_customer},
    computed={"tax_ids": _tax_ids, "subscriptions": _subscriptions},
    # SDK's description of the list's `test_clock`.
    test_clock_filters=("test_clock",),
    tombstone=True,
)
TAX_ID = Family(
    kind="customer.tax_id",
    object="tax_id",
    prefix="txi",
    blank={
        "country": None,
        "customer": None,
        "owner": None,
        "type": None,
        "value": None,
        "verification": {"status": "pending", "verified_address": None, "verified_name": None},
    },
    parents={"customer": "customer"},
    operations={"create": _create_tax_id},
)
BALANCE_TRANSACTION = Family(
    kind="customer.balance_transaction",
    object="customer_balance_transaction",
    prefix="cbtxn",
    blank={
        "credit_note": None,
        "currency": "usd",
        "customer": None,
        "description": None,
        "invoice": None,
        "metadata": {},
    },
    parents={"customer": "customer"},
    operations={"create": _create_balance_transaction},
)
FAMILIES = (CUSTOMER, TAX_ID, BALANCE_TRANSACTION)
