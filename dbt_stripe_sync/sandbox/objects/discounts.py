"""Active discounts, which are created when a coupon or promotion code is applied to something."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import Family, refuse
from dbt_stripe_sync.sandbox.objects.amounts import rounded
from dbt_stripe_sync.sandbox.objects.periods import add_intervals

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work


def apply_discounts(work: Work, given: Any, before: list[str], **on: str) -> list[str]:
    """Return the ids of the discounts after a request. `on` says what they apply to (`customer`, `subscription` …)."""
    if given is None:
        return before
    return [_apply(work, item, before, f"discounts[{index}]", on) for index, item in enumerate(given or [])]


def _apply(work: Work, given: Body, before: list[str], param: str, on: dict[str, str]) -> str:
    if given.get("discount"):
        if given["discount"] not in before:
            core.reference(work, DISCOUNT.kind, given["discount"], f"{param}[discount]")
        return str(given["discount"])
    code = None
    coupon_id = given.get("coupon")
    if given.get("promotion_code"):
        code = core.reference(work, "promotion_code", given["promotion_code"], f"{param}[promotion_code]")
        if not _shown(work, "promotion_code", code)["active"]:
            raise refuse("This promotion code is not active.", f"{param}[promotion_code]")
        coupon_id = code["promotion"]["coupon"]
    coupon = core.reference(work, "coupon", coupon_id or "", f"{param}[coupon]")
    for known in before:
        held = work.shown(DISCOUNT.kind, known)
        if held is not None and held["source"]["coupon"] == coupon["id"]:
            return known
    if not _shown(work, "coupon", coupon)["valid"]:
        raise refuse(f"Coupon expired: {coupon['id']}", f"{param}[coupon]", "coupon_expired")
    work.edit("coupon", coupon["id"])["times_redeemed"] += 1
    if code is not None:
        work.edit("promotion_code", code["id"])["times_redeemed"] += 1
    body = core.new_body(DISCOUNT, work)
    body.pop("created")
    body.pop("livemode")
    body.update(source={"coupon": coupon["id"], "type": "coupon"}, start=work.now, **on)
    body["promotion_code"] = code["id"] if code else None
    if coupon["duration"] == "repeating":
        body["end"] = add_intervals(work.now, "month", coupon["duration_in_months"])
    return str(work.add(DISCOUNT.kind, body)["id"])


def discount_amounts(work: Work, discounts: list[str], subtotal: int, currency: str) -> list[Body]:
    """Return what each discount takes off. They apply one after the other, never below zero."""
    left = subtotal
    taken = []
    for id_ in discounts:
        discount = work.shown(DISCOUNT.kind, id_)
        if discount is None or (discount["end"] is not None and discount["end"] <= work.now):
            continue
        coupon = work.shown("coupon", discount["source"]["coupon"])
        if coupon is None:
            continue
        if coupon["percent_off"] is not None:
            off = rounded(Decimal(left) * Decimal(str(coupon["percent_off"])) / 100)
        else:
            option = (coupon.get("currency_options") or {}).get(currency)
            off = int(option["amount_off"]) if option else 0
        off = max(0, min(left, off))
        left -= off
        taken.append({"amount": off, "discount": id_})
    return taken


def _shown(work: Work, kind: str, body: Body) -> Body:
    render = work.families[kind].render
    return render(work, body) if render is not None else body


DISCOUNT = Family(
    kind="discount",
    object="discount",
    prefix="di",
    blank={
        "checkout_session": None,
        "created": 0,
        "customer": None,
        "end": None,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": None,
        "source": None,
        "subscription": None,
        "subscription_item": None,
    },
)
FAMILIES = (DISCOUNT,)
