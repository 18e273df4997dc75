"""Customers, products, prices and coupons: the rules that a sync encounters."""

from __future__ import annotations

import pytest
import stripe

MONTHLY = {"interval": "month"}


@pytest.fixture
def product(api):
    return api.products.create({"id": "gold", "name": "Gold"})


def refused(call, *args):
    with pytest.raises(stripe.InvalidRequestError) as error:
        call(*args)
    return error.value


def test_a_deleted_customer_stays_visible_as_deleted_and_leaves_the_lists(api):
    made = api.customers.create({"email": "a@example.com"})
    assert api.customers.delete(made.id).deleted

    assert api.customers.retrieve(made.id).to_dict() == {"id": made.id, "object": "customer", "deleted": True}
    assert api.customers.list({"email": "a@example.com"}).data == []
    assert refused(api.customers.update, made.id, {"name": "x"}).http_status == 404


def test_an_address_is_replaced_as_a_whole_and_a_new_balance_creates_a_transaction(api):
    made = api.customers.create({"address": {"city": "Paris", "country": "FR"}, "balance": -500})
    changed = api.customers.update(made.id, {"address": {"line1": "Rue 1"}, "balance": -200})

    assert (changed.address.line1, changed.address.city) == ("Rue 1", None)
    moves = api.customers.balance_transactions.list(made.id).data
    assert [(m.amount, m.ending_balance) for m in moves] == [(300, -200), (-500, -500)]


def test_tax_ids_belong_to_their_customer(api):
    made = api.customers.create({"tax_id_data": [{"type": "eu_vat", "value": "DE123456789"}]})
    other = api.customers.create({})
    (tax_id,) = api.customers.tax_ids.list(made.id).data

    assert refused(api.customers.tax_ids.retrieve, other.id, tax_id.id).http_status == 404
    assert api.customers.retrieve(made.id, {"expand": ["tax_ids"]}).tax_ids.data[0].id == tax_id.id
    api.customers.tax_ids.delete(made.id, tax_id.id)
    assert api.customers.tax_ids.list(made.id).data == []


def test_a_custom_id_can_be_used_once(api, product):
    again = refused(api.products.create, {"id": product.id, "name": "Again"})
    assert (again.http_status, again.code) == (400, "resource_already_exists")


def test_a_product_with_prices_is_archived_not_deleted(api, product):
    api.prices.create({"product": product.id, "currency": "usd", "unit_amount": 1})
    assert "cannot be deleted" in refused(api.products.delete, product.id).user_message
    assert api.products.update(product.id, {"active": False}).active is False
    empty = api.products.create({"name": "Empty"})
    assert api.products.delete(empty.id).deleted
    assert refused(api.products.retrieve, empty.id).http_status == 404


def test_a_price_is_immutable_except_for_a_few_fields(api, product):
    price = api.prices.create({"product": product.id, "currency": "USD", "unit_amount": 500, "recurring": MONTHLY})
    assert (price.currency, price.type, price.recurring.usage_type) == ("usd", "recurring", "licensed")
    assert refused(api.prices.update, price.id, {"unit_amount": 600}).code == "parameter_unknown"
    assert api.prices.update(price.id, {"nickname": "n", "active": False}).active is False


def test_a_lookup_key_belongs_to_one_price_and_can_be_transferred(api, product):
    old = api.prices.create({"product": product.id, "currency": "usd", "unit_amount": 1, "lookup_key": "gold"})
    new = {"product": product.id, "currency": "usd", "unit_amount": 2, "lookup_key": "gold"}
    assert refused(api.prices.create, new).code == "resource_already_exists"

    moved = api.prices.create({**new, "transfer_lookup_key": True})

    assert api.prices.retrieve(old.id).lookup_key is None
    assert [p.id for p in api.prices.list({"lookup_keys": ["gold", "silver"]}).data] == [moved.id]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"currency": "usd"}, "unit_amount"),
        ({"currency": "usd", "unit_amount": -1}, "unit_amount"),
        ({"currency": "usd", "unit_amount": 1, "unit_amount_decimal": "1"}, "unit_amount_decimal"),
        ({"currency": "usd", "billing_scheme": "tiered", "tiers_mode": "volume"}, "tiers"),
        ({"currency": "usd", "unit_amount": 1, "product_data": {"name": "x"}}, "product_data"),
        ({"currency": "usd", "unit_amount": 1, "product": "prod_none"}, "product"),
    ],
)
def test_an_invalid_price_is_rejected(api, product, params, param):
    assert refused(api.prices.create, {"product": product.id, **params}).param == param


def test_tiers_and_currency_options_are_returned_only_if_expanded(api, product):
    made = api.prices.create(
        {
            "product": product.id,
            "currency": "usd",
            "billing_scheme": "tiered",
            "tiers_mode": "graduated",
            "recurring": MONTHLY,
            "tiers": [{"up_to": 5, "unit_amount": 100}, {"up_to": "inf", "unit_amount_decimal": "0.5"}],
        }
    )
    assert "tiers" not in made.to_dict()
    tiers = api.prices.retrieve(made.id, {"expand": ["tiers"]}).to_dict()["tiers"]
    assert [(t["up_to"], t["unit_amount"], str(t["unit_amount_decimal"])) for t in tiers] == [
        (5, 100, "100"),
        (None, None, "0.5"),
    ]


def test_the_terms_of_a_coupon_are_immutable(api):
    made = api.coupons.create({"id": "SAVE", "percent_off": 25.5, "duration": "once"})
    assert made.percent_off == 25.5
    assert api.coupons.update("SAVE", {"name": "Save"}).name == "Save"
    assert refused(api.coupons.update, "SAVE", {"percent_off": 10}).code == "parameter_unknown"
    assert refused(api.coupons.create, {"id": "SAVE", "percent_off": 1}).code == "resource_already_exists"
    assert refused(api.coupons.create, {"amount_off": 1}).param == "currency"
    api.coupons.delete("SAVE")
    assert refused(api.coupons.retrieve, "SAVE").http_status == 404


def test_active_promotion_codes_have_unique_codes(api):
    api.coupons.create({"id": "SAVE", "percent_off": 10})
    params = {"promotion": {"type": "coupon", "coupon": "SAVE"}, "code": "HELLO"}
    first = api.promotion_codes.create(params)
    assert refused(api.promotion_codes.create, {**params, "code": "hello"}).code == "resource_already_exists"
    api.promotion_codes.update(first.id, {"active": False})
    api.promotion_codes.create(params)
    assert refused(api.promotion_codes.update, first.id, {"active": True}).code == "resource_already_exists"


def test_a_plan_creates_its_product(api):
    plan = api.plans.create(
        {"currency": "usd", "interval": "month", "amount_decimal": "10.5", "product": {"name": "Gold"}}
    )
    assert (plan.amount, str(plan.amount_decimal)) == (None, "10.5")
    assert api.products.retrieve(plan.product).name == "Gold"
    assert refused(api.plans.create, {"currency": "usd", "interval": "month", "amount": 1}).param == "product"
