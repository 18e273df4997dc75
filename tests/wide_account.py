"""An account with every feature of products, prices and coupons, created by hand with Stripe's own SDK."""

from __future__ import annotations

from typing import Any

import stripe

from dbt_stripe_sync.sandbox import Sandbox

TEXTS = (
    'Team, "Pro" edition',
    "Zwei\nZeilen",
    "Windows\r\nline",
    "null",
    "Grüße, 日本語 🎉",
    "it's 100% \\ back",
    " padded ",
    "=1+1",
    "{{ not_jinja }}",
    "007",
    "true",
    "2026-01-01",
    "1e5",
)
METADATA: tuple[dict[str, str], ...] = (
    {"plan": "team", "code": "007"},
    {"plan": "null", "note": 'a "quoted", text'},
    {"a.b.c": "dots", "x(y)": "brackets [1]", "{{ x }}": "braces"},
    {"flag": "true", "plan": "[1, 2]"},
)


def client(sandbox: Sandbox) -> Any:
    return stripe.StripeClient(Sandbox.api_key, base_addresses={"api": sandbox.url}).v1


def fill(sandbox: Sandbox, *, metadata: tuple[dict[str, str], ...] = METADATA, plain: int = 130) -> None:
    """Products, prices and coupons of every kind, and many plain ones so that lists have several pages."""
    v1 = client(sandbox)
    products = [
        v1.products.create(
            {
                "id": f"prod_{number}",
                "name": text,
                "description": text,
                "images": ["https://example.com/a,b.png", "https://example.com/c.png"],
                "marketing_features": [{"name": "Fast, and small"}, {"name": 'With "quotes"'}],
                "package_dimensions": {"height": "1.5", "length": "10", "weight": "0.25", "width": "3"},
                "shippable": number % 2 == 0,
                "statement_descriptor": "SHOP",
                "unit_label": "seat",
                "url": "https://example.com/?a=1&b=2",
                "tax_code": "txcd_10000000",
                "metadata": metadata[number % len(metadata)],
            }
        )["id"]
        for number, text in enumerate(TEXTS)
    ]
    products += [v1.products.create({"name": f"Plain {number}"})["id"] for number in range(plain)]
    _prices(v1, products, metadata)
    _coupons(v1, products, metadata)


def _prices(v1: Any, products: list[str], metadata: tuple[dict[str, str], ...]) -> None:
    month = {"interval": "month"}
    special: list[dict[str, Any]] = [
        {"currency": "usd", "unit_amount": 2950, "recurring": {"interval": "year", "interval_count": 2}},
        {"currency": "usd", "unit_amount": 0, "recurring": {**month, "trial_period_days": 14}},
        {"currency": "usd", "unit_amount_decimal": "0.000000000125", "recurring": month},
        {"currency": "usd", "unit_amount_decimal": "12.5"},
        {"currency": "jpy", "unit_amount": 1200, "tax_behavior": "inclusive"},
        {"currency": "kwd", "unit_amount": 12340, "tax_behavior": "exclusive"},
        {"currency": "usd", "custom_unit_amount": {"enabled": True, "minimum": 500, "preset": 1000}},
        {"currency": "usd", "custom_unit_amount": {"enabled": True}},
        {"currency": "usd", "unit_amount": 100, "transform_quantity": {"divide_by": 10, "round": "up"}},
        {
            "currency": "usd",
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "recurring": {**month, "usage_type": "licensed"},
            "tiers": [
                {"up_to": 10, "unit_amount": 500},
                {"up_to": 100, "unit_amount_decimal": "49.5", "flat_amount": 1000},
                {"up_to": "inf", "flat_amount_decimal": "0.25"},
            ],
        },
        {
            "currency": "usd",
            "unit_amount": 1000,
            "currency_options": {
                "eur": {"unit_amount": 900, "tax_behavior": "inclusive"},
                "jpy": {"unit_amount_decimal": "150.5"},
                "gbp": {"custom_unit_amount": {"enabled": True, "maximum": 5000}},
            },
        },
        {
            "currency": "eur",
            "billing_scheme": "tiered",
            "tiers_mode": "volume",
            "recurring": month,
            "tiers": [{"up_to": 5, "unit_amount": 700}, {"up_to": "inf", "unit_amount": 600}],
            "currency_options": {
                "usd": {"tiers": [{"up_to": 5, "unit_amount": 800}, {"up_to": "inf", "unit_amount": 650}]}
            },
        },
    ]
    for number, given in enumerate(special):
        v1.prices.create(
            {
                **given,
                "product": products[number],
                "lookup_key": f"key, {number}",
                "nickname": TEXTS[number % len(TEXTS)],
                "metadata": metadata[number % len(metadata)],
            }
        )
    for number, product in enumerate(products):
        v1.prices.create({"currency": "usd", "unit_amount": 100 + number, "product": product})


def _coupons(v1: Any, products: list[str], metadata: tuple[dict[str, str], ...]) -> None:
    special: list[dict[str, Any]] = [
        {"id": "WELCOME", "percent_off": 33.33, "duration": "once"},
        {"id": "ten,off", "percent_off": 10, "duration": "forever", "max_redemptions": 100},
        {"id": "YEN", "amount_off": 500, "currency": "jpy", "duration": "repeating", "duration_in_months": 3},
        {"percent_off": 12.5, "duration": "once", "applies_to": {"products": products[:2]}},
        {
            "amount_off": 1000,
            "currency": "usd",
            "duration": "once",
            "redeem_by": 1893456000,
            "currency_options": {"eur": {"amount_off": 900}, "jpy": {"amount_off": 1500}},
        },
    ]
    for number, given in enumerate(special):
        v1.coupons.create({**given, "name": TEXTS[number], "metadata": metadata[number % len(metadata)]})
