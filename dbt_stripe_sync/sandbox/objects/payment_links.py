"""Payment links: line items behind a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, ExtraRoute, Family, refuse
from dbt_stripe_sync.sandbox.ids import new_id
from dbt_stripe_sync.sandbox.listing import in_list, page_of
from dbt_stripe_sync.sandbox.merging import apply_params, merge_metadata, plain
from dbt_stripe_sync.sandbox.objects.offers import build_items, check_mode

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

# Hashes that a request can give in part.
_MERGED = (
    "after_completion",
    "automatic_tax",
    "consent_collection",
    "custom_text",
    "invoice_creation",
    "phone_number_collection",
    "restrictions",
    "subscription_data",
    "tax_id_collection",
)
_SET_SEPARATELY = (*_MERGED, "line_items", "shipping_options", "custom_fields", "currency", "optional_items")


def _create(work: Work, request: ApiRequest) -> Body:
    items = build_items(work, request.params["line_items"], [])
    currencies = {item["currency"] for item in items}
    if len(currencies) > 1:
        raise refuse("All prices of a payment link must have the same currency.", "line_items")
    check_mode(FAMILY.kind, items, request.params)
    body = core.new_body(FAMILY, work)
    body.pop("created")
    body["currency"] = (request.get("currency") or next(iter(currencies))).lower()
    body["url"] = f"https://buy.stripe.com/{'' if work.livemode else 'test_'}{new_id('s', 14)[2:]}"
    if any(item["price"]["type"] == "recurring" for item in items):
        body["subscription_data"] = {"description": None, "invoice_settings": {"issuer": {"type": "self"}}}
        body["subscription_data"] |= {"metadata": {}, "trial_period_days": None, "trial_settings": None}
        body["customer_creation"] = "always"
    work.add(FAMILY.kind, body, hidden={"items": items})
    _put(work, body, request.params)
    return body


def _put(work: Work, body: Body, params: dict[str, Any]) -> None:
    apply_params(body, params, leave=_SET_SEPARATELY)
    for name in _MERGED:
        if name in params:
            body[name] = core.merged(body[name], plain(params[name])) if params[name] else None
    if body["payment_intent_data"] is not None:
        given = (params.get("payment_intent_data") or {}).get("metadata") or {}
        body["payment_intent_data"]["metadata"] = merge_metadata({}, given)
    for name in ("custom_fields", "optional_items"):
        if name in params:
            body[name] = params[name] or []
    _fill_defaults(body)
    if "shipping_options" in params:
        body["shipping_options"] = _shipping_options(work, params["shipping_options"] or [])


def _fill_defaults(body: Body) -> None:
    """Complete the hashes that a request gave in part, as answers show them."""
    if body["restrictions"] is not None:
        body["restrictions"]["completed_sessions"].setdefault("count", 0)
    for asked in (body.get("name_collection") or {}).values():
        asked.setdefault("optional", False)
    for field in body["custom_fields"]:
        field.setdefault("optional", False)


def _shipping_options(work: Work, given: list[Body]) -> list[Body]:
    options = []
    for index, option in enumerate(given):
        rate = core.reference(
            work, "shipping_rate", option.get("shipping_rate", ""), f"shipping_options[{index}][shipping_rate]"
        )
        options.append({"shipping_amount": rate["fixed_amount"]["amount"], "shipping_rate": rate["id"]})
    return options


def _update(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    if request.get("line_items"):
        hidden = work.hidden(FAMILY.kind, body["id"])
        changed = {item["id"]: item for item in build_items(work, request.params["line_items"], hidden["items"])}
        hidden["items"] = [changed.get(item["id"], item) for item in hidden["items"]]
    check_mode(FAMILY.kind, work.read_hidden(FAMILY.kind, body["id"])["items"], request.params)
    _put(work, body, request.params)
    return body


def _items(work: Work, request: ApiRequest) -> Body:
    link = work.get(FAMILY.kind, request.path["payment_link"], param="payment_link")
    return page_of(work.read_hidden(FAMILY.kind, link["id"])["items"], request)


def _line_items(work: Work, body: Body) -> Body:
    return in_list(work.read_hidden(FAMILY.kind, body["id"])["items"], f"/v1/payment_links/{body['id']}/line_items")


FAMILY = Family(
    kind="payment_link",
    object="payment_link",
    prefix="plink",
    blank={
        "active": True,
        "after_completion": {"hosted_confirmation": {"custom_message": None}, "type": "hosted_confirmation"},
        "application": None,
        "application_fee_amount": None,
        "application_fee_percent": None,
        "automatic_tax": {"enabled": False, "liability": None},
        "consent_collection": None,
        "created": 0,
        "currency": None,
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer_creation": "if_required",
        "inactive_message": None,
        "invoice_creation": {"enabled": False, "invoice_data": None},
        "on_behalf_of": None,
        "optional_items": [],
        "payment_intent_data": None,
        "payment_method_types": None,
        "restrictions": None,
        "shipping_address_collection": None,
        "subscription_data": None,
        "tax_id_collection": {"enabled": False, "required": "never"},
        "transfer_data": None,
        "url": None,
    },
    operations={"create": _create, "update": _update},
    computed={"line_items": _line_items},
    routes=(
        ExtraRoute(
            name="list_line_items", method="get", path="/v1/payment_links/{payment_link}/line_items", handler=_items
        ),
    ),
)
FAMILIES = (FAMILY,)
