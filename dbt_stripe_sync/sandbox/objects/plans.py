"""Plans: the older form of recurring prices (docs.stripe.com/api/plans)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, own_id, refuse
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects.prices import read_tiers, read_unit_amount

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_SET_SEPARATELY = ("id", "amount", "amount_decimal", "currency", "product", "tiers")


def _create(work: Work, request: ApiRequest) -> Body:
    params = request.params
    chosen = request.get("id")
    body = core.new_body(FAMILY, work, id=own_id(work, FAMILY.kind, chosen, "Plan") if chosen else None)
    apply_params(body, params, leave=_SET_SEPARATELY)
    body["currency"] = params["currency"].lower()
    body["product"] = _product(work, params)
    if params.get("billing_scheme") == "tiered":
        body["tiers"] = read_tiers(params["tiers"])
    else:
        body["amount"], body["amount_decimal"] = read_unit_amount(params.get("amount"), params.get("amount_decimal"))
    return work.add(FAMILY.kind, body)


def _product(work: Work, params: dict[str, Any]) -> str:
    product = params["product"]
    if isinstance(product, str):
        return str(core.reference(work, "product", product, "product")["id"])
    made = core.new_body(work.families["product"], work, id=product.get("id"))
    if work.has("product", made["id"]):
        raise refuse("Product already exists.", "product[id]", "resource_already_exists")
    apply_params(made, product, leave=("id", "tax_details"))
    made["updated"] = work.now
    return str(work.add("product", made)["id"])


def _update(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    if request.get("product"):
        core.reference(work, "product", request.params["product"], "product")
    apply_params(body, request.params)
    return body


FAMILY = Family(
    kind="plan",
    object="plan",
    prefix="plan",
    blank={
        "active": True,
        "amount": None,
        "amount_decimal": None,
        "currency": None,
        "interval": None,
        "interval_count": 1,
        "metadata": {},
        "meter": None,
        "nickname": None,
        "product": None,
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
    },
    operations={"create": _create, "update": _update},
    expand_only=frozenset({"tiers"}),
)
FAMILIES = (FAMILY,)
