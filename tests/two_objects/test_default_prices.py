"""A price that is its product's default price: the product gets the new default before the old price ends."""

from __future__ import annotations

import pytest

from dbt_stripe_sync.sandbox import Fault

USD = {"value": "usd"}
PRICES = {
    "product": {"sync": "products", "key": "sku"},
    "currency": USD,
    "unit_amount": "cents",
    "recurring.interval": {"value": "month"},
    "lookup_key": "id",
}
# `default_price` of a product refers to the prices, which refer to the product.
BACK = {"default_price": {"sync": "prices", "key": "default_key"}}


def open_shop(shop, *, back=False, options=None):
    shop.sync("products", resource="product", fields={"name": "name", **(BACK if back else {})}, on_removed="archive")
    shop.sync("prices", resource="price", fields=PRICES, on_removed="archive", options=options or {})
    write(shop, ("basic_m", 1000))


def write(shop, *prices, default="basic_m", name="Basic"):
    shop.rows("products", ("basic", name, default), columns="id text, name text, default_key text")
    rows = [(key, "basic", cents) for key, cents in prices]
    shop.rows("prices", *rows, columns="id text, sku text, cents int")


def default_of(shop):
    """The amount of the product's default price."""
    (product,) = shop.objects("product")
    return next((p["unit_amount"] for p in shop.objects("price") if p["id"] == product["default_price"]), None)


def amounts(shop):
    return sorted(p["unit_amount"] for p in shop.living("price"))


# ── set by hand ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def chosen_by_hand(shop):
    """A product of ours whose default price somebody has chosen, as the Dashboard does for a first price."""
    open_shop(shop)
    shop.succeeds()
    (product,), (price,) = shop.objects("product"), shop.objects("price")
    shop.hand.v1.products.update(product["id"], {"default_price": price["id"]})
    return shop


def test_a_replaced_default_price_is_archived_after_the_product_has_the_new_one(chosen_by_hand):
    write(chosen_by_hand, ("basic_m", 2500))

    planned = chosen_by_hand.run("plan", "--show-values")
    chosen_by_hand.succeeds()

    assert (amounts(chosen_by_hand), default_of(chosen_by_hand)) == ([2500], 2500)
    assert "default_price" in planned.out
    chosen_by_hand.check_settled()


def test_a_default_price_chosen_after_the_plan_was_made_ends_in_the_next_run(shop, tmp_path):
    open_shop(shop)
    shop.succeeds()
    write(shop, ("basic_m", 2500))
    plan = str(tmp_path / "plan.jsonl")
    shop.succeeds("plan", "--out", plan)
    (product,), (price,) = shop.objects("product"), shop.objects("price")
    shop.hand.v1.products.update(product["id"], {"default_price": price["id"]})

    refused = shop.fails("apply", plan)
    shop.succeeds()

    assert "default price" in refused.text
    assert (amounts(shop), default_of(shop)) == ([2500], 2500)
    shop.check_settled()


@pytest.mark.usefixtures("without_waiting")
@pytest.mark.parametrize(
    "fault",
    [Fault.forbidden, Fault.unauthorized, Fault.conflict, lambda **match: Fault.status_code(500, **match)],
    ids=["403", "401", "409", "500"],
)
@pytest.mark.parametrize("path", ["^/v1/products/", "^/v1/prices/"], ids=["moving on", "ending"])
def test_a_step_that_is_refused_is_owed_until_it_is_done(chosen_by_hand, path, fault):
    write(chosen_by_hand, ("basic_m", 2500))
    chosen_by_hand.stripe.inject(fault(count=None, method="POST", path=path))

    chosen_by_hand.fails()
    chosen_by_hand.fails()
    chosen_by_hand.stripe.clear_faults()
    chosen_by_hand.succeeds()

    assert (amounts(chosen_by_hand), default_of(chosen_by_hand)) == ([2500], 2500)
    chosen_by_hand.check_settled()


def test_a_price_that_leaves_while_it_is_the_default_says_why_it_stays(chosen_by_hand):
    write(chosen_by_hand, ("other", 1))
    ran = chosen_by_hand.run()

    assert "default" in ran.text
    assert ran.exit_code == 1
    assert "Traceback" not in ran.text


# ── a product that is not ours ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def foreign_product(shop):
    """A price of ours on a product that somebody else keeps, as its default price."""
    product = shop.hand.v1.products.create({"name": "Theirs"}).id
    fields = {**PRICES, "product": {"value": product}}
    shop.sync("prices", resource="price", fields=fields, on_removed="archive")
    shop.rows("prices", ("basic_m", 1000), columns="id text, cents int")
    shop.succeeds()
    shop.hand.v1.products.update(product, {"default_price": shop.only("price")["id"]})
    shop.rows("prices", ("basic_m", 2500), columns="id text, cents int")
    shop.writes()
    return shop


def test_a_default_price_of_someone_elses_product_is_left_alone_and_the_product_named(foreign_product):
    (product,) = foreign_product.objects("product")

    ran = foreign_product.fails()

    assert product["id"] in ran.text
    assert "move_holders" in ran.text
    assert foreign_product.writes() == []
    assert (amounts(foreign_product), default_of(foreign_product)) == ([1000], 1000)


def test_with_move_holders_the_default_price_is_moved_and_the_plan_shows_it(foreign_product):
    (product,) = foreign_product.objects("product")
    foreign_product.business.models["prices"]["meta"]["stripe_sync"]["options"] = {"move_holders": True}
    foreign_product.business.write_manifest()

    planned = foreign_product.run("plan", "--show-values")
    foreign_product.succeeds()

    assert product["id"] in planned.out
    assert (amounts(foreign_product), default_of(foreign_product)) == ([2500], 2500)
    (after,) = foreign_product.objects("product")
    assert {**after, "default_price": None, "updated": 0} == {**product, "default_price": None, "updated": 0}
    foreign_product.check_settled()


# ── mapped: a reference that points back ─────────────────────────────────────────────────────────────────────────


def test_a_default_price_that_is_mapped_is_set_in_the_first_run(shop):
    open_shop(shop, back=True)

    shop.succeeds()

    assert (amounts(shop), default_of(shop)) == ([1000], 1000)
    shop.check_settled()


def test_a_mapped_default_price_follows_when_its_price_is_replaced(shop):
    open_shop(shop, back=True)
    shop.succeeds()
    write(shop, ("basic_m", 2500))

    shop.succeeds()

    assert (amounts(shop), default_of(shop)) == ([2500], 2500)
    shop.check_settled()


def test_a_mapped_default_price_moves_to_another_row_as_the_first_one_leaves(shop):
    open_shop(shop, back=True)
    write(shop, ("basic_m", 1000), ("basic_y", 9000))
    shop.succeeds()
    write(shop, ("basic_y", 9000), default="basic_y")

    shop.succeeds()

    assert (amounts(shop), default_of(shop)) == ([9000], 9000)
    shop.check_settled()


def test_two_prices_swap_being_the_default_while_both_are_replaced(shop):
    open_shop(shop, back=True)
    write(shop, ("basic_m", 1000), ("basic_y", 9000))
    shop.succeeds()
    write(shop, ("basic_m", 1100), ("basic_y", 9900), default="basic_y")

    shop.succeeds()

    assert (amounts(shop), default_of(shop)) == ([1100, 9900], 9900)
    shop.check_settled()


def test_a_new_product_comes_with_its_prices_and_its_default_price(shop):
    open_shop(shop, back=True)
    shop.succeeds()
    shop.rows(
        "products",
        ("basic", "Basic", "basic_m"),
        ("pro", "Pro", "pro_m"),
        columns="id text, name text, default_key text",
    )
    shop.rows("prices", ("basic_m", "basic", 1000), ("pro_m", "pro", 3000), columns="id text, sku text, cents int")

    shop.succeeds()

    prices = {p["id"]: p["unit_amount"] for p in shop.living("price")}
    assert {p["name"]: prices[p["default_price"]] for p in shop.objects("product")} == {"Basic": 1000, "Pro": 3000}
    shop.check_settled()


def test_a_product_whose_default_price_is_rejected_gets_it_later(shop):
    open_shop(shop, back=True)
    write(shop, ("basic_m", None))

    shop.fails()
    without = default_of(shop)
    write(shop, ("basic_m", 1000))
    shop.succeeds()

    assert (shop.stripe.count("product"), without, default_of(shop)) == (1, None, 1000)
    shop.check_settled()


def test_a_default_price_that_becomes_null_is_removed_from_the_product(shop):
    open_shop(shop, back=True)
    shop.succeeds()
    write(shop, ("basic_m", 1000), default=None)

    shop.succeeds()

    assert (amounts(shop), default_of(shop)) == ([1000], None)
    shop.check_settled()


def test_a_mapped_default_price_is_recognized_after_a_lost_state(shop):
    open_shop(shop, back=True)
    shop.succeeds()
    shop.business.state.unlink()

    shop.succeeds("state", "rebuild")
    shop.check_settled()

    assert (amounts(shop), default_of(shop)) == ([1000], 1000)


def test_a_default_price_removed_with_its_product_stays_active_and_is_reported(shop):
    open_shop(shop, back=True)
    shop.rows(
        "products",
        ("basic", "Basic", "basic_m"),
        ("pro", "Pro", "pro_m"),
        columns="id text, name text, default_key text",
    )
    shop.rows("prices", ("basic_m", "basic", 1000), ("pro_m", "pro", 3000), columns="id text, sku text, cents int")
    shop.succeeds()
    write(shop, ("basic_m", 1000))

    ran = shop.run()

    products = {p["name"]: p for p in shop.objects("product")}
    assert products["Pro"]["active"] is False, ran.text
    # Stripe keeps a default price active.
    assert (ran.exit_code, sorted(amounts(shop))) == (1, [1000, 3000]), ran.text
    assert "default" in ran.text


@pytest.mark.usefixtures("without_waiting")
@pytest.mark.parametrize(
    "fault",
    [Fault.forbidden, Fault.conflict, lambda **match: Fault.status_code(500, **match), Fault.cut],
    ids=["403", "409", "500", "cut after the effect"],
)
def test_a_rejected_step_of_a_circular_reference_is_done_by_the_next_run(shop, fault):
    open_shop(shop, back=True)
    shop.stripe.inject(fault(count=None, method="POST", path="^/v1/products/"))

    shop.fails()
    shop.stripe.clear_faults()
    shop.succeeds()

    assert (amounts(shop), default_of(shop)) == ([1000], 1000)
    shop.check_settled()


def test_an_unresolvable_cycle_is_a_config_error_that_names_it(shop):
    shop.rows("people", ("1", "2"), columns="id text, other text")
    shop.rows("orders", ("1", "2"), columns="id text, other text")
    shop.sync("people", resource="customer", fields={"metadata.order": {"sync": "orders", "key": "other"}})
    shop.sync(
        "orders", resource="product", fields={"name": "id", "metadata.person": {"sync": "people", "key": "other"}}
    )

    ran = shop.run()

    # Metadata is taken by updates, too, so one of the two may point back; what creation needs may not.
    assert (ran.exit_code, "reference-cycle" in ran.text) == (1, False), ran.text
    shop.sync("orders", resource="subscription", fields={"customer": {"sync": "people", "key": "other"}, "items": "i"})
    credited = {"invoice": {"sync": "orders", "key": "other"}, "amount": {"value": 100}}
    shop.sync("people", resource="credit_note", fields=credited)
    cyclic = shop.run("parse")
    assert cyclic.exit_code == 2
    assert "reference-cycle" in cyclic.text
    assert "people" in cyclic.text
    assert "orders" in cyclic.text


def test_a_customer_gets_its_default_payment_method_despite_the_circular_reference(shop):
    shop.rows("people", ("1", "m1"), columns="id text, method text")
    shop.rows("methods", ("m1", "1", "DE89370400440532013000"), columns="id text, person text, iban text")
    shop.sync(
        "people",
        resource="customer",
        fields={"invoice_settings.default_payment_method": {"sync": "methods", "key": "method"}, "metadata.id": "id"},
    )
    shop.sync(
        "methods",
        resource="payment_method",
        fields={
            "type": {"value": "sepa_debit"},
            "sepa_debit.iban": "iban",
            "billing_details.email": {"template": "[[ id ]]@example.com"},
            "billing_details.name": "id",
            "metadata.person": {"sync": "people", "key": "person"},
        },
    )

    ran = shop.run("parse")

    assert "reference-cycle" not in ran.text
