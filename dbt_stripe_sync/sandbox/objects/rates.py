"""Tax rates, shipping rates and the account's own tax ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, refuse
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work


def read_rates(work: Work, given: Any, param: str, held: Iterable[Body | str] | None = None) -> list[Body]:
    """Return the tax rates that a parameter names, as objects show them. Raises `ApiError`.

    `held` are the rates that the object already has; they may have been archived since. If it is None, any rate may be
    archived.
    """
    rates = [core.reference(work, TAX_RATE.kind, str(id_), f"{param}[{i}]") for i, id_ in enumerate(given or [])]
    kept = None if held is None else {rate if isinstance(rate, str) else rate["id"] for rate in held}
    for index, rate in enumerate(rates):
        if kept is not None and not rate["active"] and rate["id"] not in kept:
            raise refuse(f"The tax rate {rate['id']} is inactive and can't be applied.", f"{param}[{index}]")
    return rates


def _create_shipping_rate(work: Work, request: ApiRequest) -> Body:
    body = core.new_body(SHIPPING_RATE, work)
    apply_params(body, request.params, leave=("fixed_amount",))
    fixed = request.params["fixed_amount"]
    options = {
        k.lower(): {"tax_behavior": "unspecified", **v} for k, v in (fixed.get("currency_options") or {}).items()
    }
    currency = fixed["currency"].lower()
    options[currency] = {"amount": fixed["amount"], "tax_behavior": body["tax_behavior"]}
    body["fixed_amount"] = {"amount": fixed["amount"], "currency": currency, "currency_options": options}
    if body["delivery_estimate"]:
        body["delivery_estimate"] = {"maximum": None, "minimum": None, **body["delivery_estimate"]}
    return work.add(SHIPPING_RATE.kind, body)


def _update_shipping_rate(work: Work, request: ApiRequest) -> Body:
    body = work.edit(SHIPPING_RATE.kind, request.id)
    limits.check_set_once(SHIPPING_RATE.kind, body, request.params)
    apply_params(body, request.params, leave=("fixed_amount",))
    for currency, option in ((request.get("fixed_amount") or {}).get("currency_options") or {}).items():
        held = body["fixed_amount"]["currency_options"]
        held[currency.lower()] = {"tax_behavior": "unspecified", **held.get(currency.lower(), {}), **option}
    return body


def _create_tax_id(work: Work, request: ApiRequest) -> Body:
    owner = request.get("owner") or {"type": "self"}
    if owner["type"] == "customer":
        core.reference(work, "customer", owner.get("customer", ""), "owner[customer]")
    body = core.new_body(TAX_ID, work)
    type_ = request.params["type"]
    country = None if type_ == "eu_vat" else type_.partition("_")[0].upper()
    body.update(type=type_, value=request.params["value"], owner=owner, customer=owner.get("customer"), country=country)
    return work.add(TAX_ID.kind, body)


TAX_RATE = Family(
    kind="tax_rate",
    object="tax_rate",
    prefix="txr",
    blank={
        "active": True,
        "country": None,
        "description": None,
        "display_name": None,
        "effective_percentage": None,
        "flat_amount": None,
        "jurisdiction": None,
        "jurisdiction_level": None,
        "metadata": {},
        "rate_type": "percentage",
        "state": None,
        "tax_type": None,
    },
)
SHIPPING_RATE = Family(
    kind="shipping_rate",
    object="shipping_rate",
    prefix="shr",
    blank={
        "active": True,
        "delivery_estimate": None,
        "display_name": None,
        "tax_behavior": "unspecified",
        "tax_code": None,
    },
    operations={"create": _create_shipping_rate, "update": _update_shipping_rate},
    filters={"currency": "fixed_amount.currency"},
)
TAX_ID = Family(
    kind="tax_id",
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
    operations={"create": _create_tax_id},
    filters={"owner": lambda _work, body, owner: body["owner"]["type"] == owner["type"]},
)
FAMILIES = (TAX_RATE, SHIPPING_RATE, TAX_ID)
