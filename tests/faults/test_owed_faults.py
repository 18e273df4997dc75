"""Changes of several steps of which one fails: the step is owed, and a later run does it."""

from __future__ import annotations

import duckdb
import pytest
import stripe as sdk
from fault_table import DEPENDENT_STAYS, END_LOST, END_REFUSED, HOLDER_REFUSED, VALUE_TAKEN

from dbt_stripe_sync.sandbox import Fault

pytestmark = pytest.mark.usefixtures("clock")
REFUSED = (Fault.forbidden, lambda **match: Fault.status_code(400, **match))


@pytest.fixture
def catalog(business):
    """A product with a price, which the row can only have anew."""
    business.rows("products", ("p", "Desk"), columns="id text, name text")
    business.sync("products", resource="product", key="id", fields={"name": "name"})
    business.sync(
        "prices",
        resource="price",
        key="id",
        fields={
            "product": {"sync": "products", "key": "product"},
            "currency": {"value": "usd"},
            "unit_amount": "cents",
            "lookup_key": "lookup",
        },
    )
    write(business, ("m", "p", 1000, "basic"))
    assert business.cli().exit_code == 0
    return business


def write(business, *prices):
    business.rows("prices", *prices, columns="id text, product text, cents int, lookup text")


def amounts(business):
    return sorted(p["unit_amount"] for p in business.stripe.objects("price") if p["active"])


def owed(business):
    with duckdb.connect(str(business.state), read_only=True) as state:
        return state.execute("SELECT count(*) FROM owed").fetchall()[0][0]


def check_seen(ran, fault):
    assert ran.exit_code == fault.exit_code, ran.text
    assert [text for text in fault.seen if text not in ran.text] == []


def check_nothing_is_left_open(business):
    ran = business.cli()
    assert (ran.exit_code, owed(business)) == (0, 0), ran.text
    business.write_calls()
    assert business.cli().exit_code == 0
    assert business.write_calls() == []


@pytest.mark.parametrize("fault", REFUSED, ids=["403", "400"])
def test_a_rejected_removal_of_the_old_object_is_owed(catalog, fault):
    write(catalog, ("m", "p", 1200, "basic"))
    catalog.stripe.inject(fault(count=None, method="POST", path="^/v1/prices/"))

    check_seen(catalog.cli(), END_REFUSED)
    check_seen(catalog.cli(), END_REFUSED)

    assert (owed(catalog), amounts(catalog)) == (1, [1000, 1200])
    catalog.stripe.clear_faults()
    check_nothing_is_left_open(catalog)
    assert amounts(catalog) == [1200]


@pytest.mark.parametrize("acts", [False, True], ids=["before the effect", "after the effect"])
def test_an_unanswered_removal_of_the_old_object_is_owed(catalog, acts):
    write(catalog, ("m", "p", 1200, "basic"))
    catalog.stripe.inject(Fault.cut(after_effect=acts, count=None, method="POST", path="^/v1/prices/"))

    check_seen(catalog.cli(), END_LOST)

    catalog.stripe.clear_faults()
    check_nothing_is_left_open(catalog)
    assert amounts(catalog) == [1200]


def test_a_product_that_cannot_be_updated_keeps_its_default_price(catalog):
    (product,), (price,) = catalog.stripe.objects("product"), catalog.stripe.objects("price")
    hand = sdk.StripeClient(catalog.stripe.api_key, base_addresses={"api": catalog.stripe.url})
    hand.v1.products.update(product["id"], {"default_price": price["id"]})
    write(catalog, ("m", "p", 1200, "basic"))
    catalog.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/products/"))

    check_seen(catalog.cli(), HOLDER_REFUSED)

    assert (owed(catalog), amounts(catalog)) == (2, [1000, 1200])
    catalog.stripe.clear_faults()
    check_nothing_is_left_open(catalog)
    assert amounts(catalog) == [1200]


def test_a_code_that_cannot_follow_leaves_its_coupon_unchanged(business):
    business.rows("coupons", ("k", 10), columns="id text, pct int")
    business.sync("coupons", resource="coupon", key="id", fields={"percent_off": "pct", "duration": {"value": "once"}})
    business.sync(
        "codes",
        resource="promotion_code",
        key="id",
        fields={
            "code": "code",
            "promotion.type": {"value": "coupon"},
            "promotion.coupon": {"sync": "coupons", "key": "coupon"},
            "metadata.note": "note",
        },
    )
    business.rows("codes", ("x", "SPRING", "k", "a"), columns="id text, code text, coupon text, note text")
    assert business.cli().exit_code == 0
    business.write_calls()
    business.rows("coupons", ("k", 20), columns="id text, pct int")
    business.rows("codes", ("x", "SPRING", "k", "a" * 600), columns="id text, code text, coupon text, note text")

    check_seen(business.cli("run", "--yes"), DEPENDENT_STAYS)

    assert business.write_calls() == []


def test_a_value_that_two_rows_need_is_given_to_one_of_them(catalog):
    write(catalog, ("m", "p", 1000, "basic"), ("n", "p", 2000, "basic"))
    catalog.write_calls()

    check_seen(catalog.cli(), VALUE_TAKEN)

    assert catalog.write_calls() == []
