"""Coupons and their promotion codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, own_id, refuse
from dbt_stripe_sync.sandbox.ids import new_code
from dbt_stripe_sync.sandbox.merging import apply_params

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work


def _create_coupon(work: Work, request: ApiRequest) -> Body:
    params = request.params
    chosen = request.get("id") or new_code()
    body = core.new_body(COUPON, work, id=own_id(work, COUPON.kind, chosen, "Coupon"))
    apply_params(body, params, leave=("id", "currency", "currency_options"))
    body["currency"] = request.get("currency", "").lower() or None
    if body["currency"]:
        body["currency_options"] = {body["currency"]: {"amount_off": request.get("amount_off")}, **_options(params)}
    return work.add(COUPON.kind, body)


def _options(params: dict[str, Any]) -> Body:
    return {currency.lower(): option for currency, option in (params.get("currency_options") or {}).items()}


def _update_coupon(work: Work, request: ApiRequest) -> Body:
    body = work.edit(COUPON.kind, request.id)
    apply_params(body, request.params, leave=("currency_options",))
    if "currency_options" in request.params:
        body["currency_options"] = {**body.get("currency_options", {}), **_options(request.params)}
    return body


def _render_coupon(work: Work, body: Body) -> Body:
    expired = body["redeem_by"] is not None and body["redeem_by"] <= work.now
    used_up = body["max_redemptions"] is not None and body["times_redeemed"] >= body["max_redemptions"]
    return {**body, "valid": not (expired or used_up)}


def _create_promotion_code(work: Work, request: ApiRequest) -> Body:
    params = request.params
    promotion = params["promotion"]
    coupon = core.reference(work, COUPON.kind, promotion.get("coupon", ""), "promotion[coupon]")
    if not _render_coupon(work, coupon)["valid"]:
        raise refuse("The coupon is no longer valid.", "promotion[coupon]")
    _check_within(request, coupon)
    code = request.get("code") or new_code()
    if any(_render_promotion_code(work, p)["active"] for p in _with_code(work, code)):
        raise refuse(
            "An active promotion code with `code: " + code + "` already exists.", "code", "resource_already_exists"
        )
    body = core.new_body(PROMOTION_CODE, work)
    apply_params(body, params, leave=("promotion", "code", "restrictions"))
    body["code"] = code
    body["promotion"] = {"coupon": coupon["id"], "type": promotion["type"]}
    body["restrictions"] = {**body["restrictions"], **(params.get("restrictions") or {})}
    if request.get("customer"):
        core.reference(work, "customer", params["customer"], "customer")
    return work.add(PROMOTION_CODE.kind, body)


def _check_within(request: ApiRequest, coupon: Body) -> None:
    """Raise `ApiError` if a code would outlast its coupon, or could be used more often.

    The sources are the SDK's descriptions of `expires_at` and `max_redemptions`.
    """
    for name, limit in (("expires_at", coupon["redeem_by"]), ("max_redemptions", coupon["max_redemptions"])):
        given = request.get(name)
        if given is not None and limit is not None and given > limit:
            raise refuse(f"The promotion code's {name} cannot be greater than its coupon's.", name)


def _with_code(work: Work, code: str) -> list[Body]:
    return [p for p in work.find(PROMOTION_CODE.kind) if p["code"].casefold() == code.casefold()]


def _update_promotion_code(work: Work, request: ApiRequest) -> Body:
    body = work.edit(PROMOTION_CODE.kind, request.id)
    if request.get("active"):
        coupon = work.shown(COUPON.kind, body["promotion"]["coupon"])
        if coupon is None or not _render_coupon(work, coupon)["valid"]:
            raise refuse("This promotion code cannot be activated: its coupon is no longer valid.", "active")
        others = [p for p in _with_code(work, body["code"]) if p["id"] != body["id"]]
        if any(_render_promotion_code(work, p)["active"] for p in others):
            raise refuse("Another active promotion code has the same code.", "active", "resource_already_exists")
    apply_params(body, request.params, leave=("restrictions",))
    restrictions = request.get("restrictions")
    if restrictions:
        body["restrictions"] = {**body["restrictions"], **restrictions}
    return body


def _render_promotion_code(work: Work, body: Body) -> Body:
    expired = body["expires_at"] is not None and body["expires_at"] <= work.now
    used_up = body["max_redemptions"] is not None and body["times_redeemed"] >= body["max_redemptions"]
    coupon = work.shown(COUPON.kind, body["promotion"]["coupon"])
    usable = coupon is not None and _render_coupon(work, coupon)["valid"]
    return {**body, "active": body["active"] and usable and not (expired or used_up)}


COUPON = Family(
    kind="coupon",
    object="coupon",
    prefix="",
    blank={
        "amount_off": None,
        "currency": None,
        "duration": "once",
        "duration_in_months": None,
        "max_redemptions": None,
        "metadata": {},
        "name": None,
        "percent_off": None,
        "redeem_by": None,
        "valid": True,
    },
    operations={"create": _create_coupon, "update": _update_coupon},
    expand_only=frozenset({"applies_to", "currency_options"}),
    render=_render_coupon,
)
PROMOTION_CODE = Family(
    kind="promotion_code",
    object="promotion_code",
    prefix="promo",
    blank={
        "active": True,
        "code": None,
        "customer": None,
        "expires_at": None,
        "max_redemptions": None,
        "metadata": {},
        "promotion": None,
        "restrictions": {
            "first_time_transaction": False,
            "minimum_amount": None,
            "minimum_amount_currency": None,
        },
    },
    operations={"create": _create_promotion_code, "update": _update_promotion_code},
    filters={
        "coupon": "promotion.coupon",
        "code": lambda _work, body, code: body["code"].casefold() == code.casefold(),
        "active": lambda work, body, active: _render_promotion_code(work, body)["active"] is active,
    },
    render=_render_promotion_code,
)
FAMILIES = (COUPON, PROMOTION_CODE)
