"""Prices: immutable except for a few fields, with unique lookup keys."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, refuse
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import limits

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_AMOUNTS = ("unit_amount", "unit_amount_decimal", "custom_unit_amount")
_NOT_SHOWN = (
    "product_data",
    "transfer_lookup_key",
    "lookup_key",
    "unit_amount",
    "unit_amount_decimal",
    "recurring",
    "tiers",
    "currency_options",
    "currency",
    "custom_unit_amount",
)


def add_price(work: Work, params: dict[str, Any]) -> Body:
    """Create a price. Raises `ApiError` if the parameters are invalid."""
    body = core.new_body(PRICE, work)
    apply_params(body, params, leave=_NOT_SHOWN)
    body["currency"] = params["currency"].lower()
    recurring = params.get("recurring")
    body["type"] = "recurring" if recurring else "one_time"
    if recurring:
        body["recurring"] = {
            "interval_count": 1,
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
            **recurring,
        }
    body["product"] = _product_of(work, params)
    _put_amounts(body, params)
    options = {body["currency"]: _option(body)}
    for currency, option in (params.get("currency_options") or {}).items():
        options[currency.lower()] = _build_option(option)
    body["currency_options"] = options
    work.add(PRICE.kind, body)
    _take_lookup_key(work, body, params)
    return body


def _product_of(work: Work, params: dict[str, Any]) -> str:
    data = params.get("product_data")
    if data:
        made = core.new_body(work.families["product"], work, id=data.get("id"))
        apply_params(made, data, leave=("id",))
        made["updated"] = work.now
        if work.has("product", made["id"]):
            raise refuse("Product already exists.", "product_data[id]", "resource_already_exists")
        return str(work.add("product", made)["id"])
    return str(core.reference(work, "product", params["product"], "product")["id"])


def _put_amounts(body: Body, params: dict[str, Any]) -> None:
    if params.get("tiers"):
        body["tiers"] = read_tiers(params["tiers"])
        body["unit_amount"] = body["unit_amount_decimal"] = None
        return
    custom = params.get("custom_unit_amount")
    if custom:
        body["custom_unit_amount"] = {k: custom.get(k) for k in ("maximum", "minimum", "preset")}
        body["unit_amount"] = body["unit_amount_decimal"] = None
        return
    body["unit_amount"], body["unit_amount_decimal"] = read_unit_amount(
        params.get("unit_amount"), params.get("unit_amount_decimal")
    )


def read_unit_amount(amount: Any, decimal: Any) -> tuple[int | None, str]:
    """Return an amount as objects show it: as an integer if it is whole, and exactly."""
    exact = Decimal(str(decimal if amount is None or amount == "" else amount))
    return int(exact) if exact == exact.to_integral_value() else None, format(exact.normalize(), "f")


def read_tiers(given: list[Body]) -> list[Body]:
    """Return tiers as objects show them."""
    tiers = []
    for tier in given:
        up_to = None if tier["up_to"] == "inf" else int(tier["up_to"])
        shown: Body = {"up_to": up_to}
        for name in ("flat_amount", "unit_amount"):
            amount, decimal = tier.get(name), tier.get(f"{name}_decimal")
            text = str(amount) if amount not in (None, "") else decimal
            exact = None if text in (None, "") else Decimal(str(text))
            shown[name] = None if exact is None or exact != exact.to_integral_value() else int(exact)
            shown[f"{name}_decimal"] = None if exact is None else format(exact.normalize(), "f")
        tiers.append(shown)
    return tiers


def _option(body: Body) -> Body:
    names = ("custom_unit_amount", "tax_behavior", "unit_amount", "unit_amount_decimal")
    shown = {name: body[name] for name in names}
    if "tiers" in body:
        shown["tiers"] = body["tiers"]
    return shown


def _build_option(given: Body, before: Body | None = None) -> Body:
    """Build the amounts in another currency. An update keeps what it doesn't mention."""
    shown: Body = {"custom_unit_amount": None, "tax_behavior": "unspecified", "unit_amount": None}
    shown = {**shown, "unit_amount_decimal": None, **(before or {})}
    shown["tax_behavior"] = given.get("tax_behavior") or shown["tax_behavior"]
    if any(given.get(name) not in (None, "") for name in ("tiers", *_AMOUNTS)):
        shown["custom_unit_amount"] = None
        _put_amounts(shown, given)
    return shown


def _take_lookup_key(work: Work, body: Body, params: dict[str, Any]) -> None:
    if "lookup_key" not in params:
        return
    key = params["lookup_key"] or None
    if key is not None:
        for holder in work.find(PRICE.kind, {"lookup_key": key}):
            if holder["id"] == body["id"]:
                continue
            if not params.get("transfer_lookup_key"):
                raise refuse(
                    f"A price (`{holder['id']}`) already uses that lookup key.", "lookup_key", "resource_already_exists"
                )
            work.edit(PRICE.kind, holder["id"])["lookup_key"] = None
    body["lookup_key"] = key


def _create_price(work: Work, request: ApiRequest) -> Body:
    return add_price(work, request.params)


def _update_price(work: Work, request: ApiRequest) -> Body:
    body = work.edit(PRICE.kind, request.id)
    params = request.params
    limits.check_set_once(PRICE.kind, body, params)
    apply_params(body, params, leave=("lookup_key", "transfer_lookup_key", "currency_options"))
    if body["active"] is False and work.shown("product", body["product"]) is not None:
        product = work.get("product", body["product"])
        if product["default_price"] == body["id"]:
            raise refuse("This price cannot be archived because it is the default price of its product.", "active")
    for currency, option in (params.get("currency_options") or {}).items():
        if option == "":
            body["currency_options"].pop(currency, None)
        else:
            held = body["currency_options"].get(currency.lower())
            body["currency_options"][currency.lower()] = _build_option(option, held)
    _take_lookup_key(work, body, params)
    return body


PRICE = Family(
    kind="price",
    object="price",
    prefix="price",
    blank={
        "active": True,
        "currency": None,
        "custom_unit_amount": None,
        "lookup_key": None,
        "nickname": None,
        "product": None,
        "recurring": None,
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "unit_amount": None,
        "unit_amount_decimal": None,
    },
    operations={"create": _create_price, "update": _update_price},
    expand_only=frozenset({"tiers", "currency_options"}),
    filters={
        "recurring": lambda _work, body, given: (
            body["recurring"] is not None and all(body["recurring"].get(key) == value for key, value in given.items())
        )
    },
)
FAMILIES = (PRICE,)
