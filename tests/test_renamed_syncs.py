"""A sync that was renamed in YAML but not in the state must not create everything a second time."""

from __future__ import annotations

import pytest

FIELDS = {"name": "name", "metadata.sku": "sku"}


@pytest.fixture
def offers(business):
    business.rows("offers", ("a", "Gold"), ("b", "Silver"), columns="sku text, name text")
    business.sync("offers", resource="product", key="sku", fields=FIELDS)
    assert business.cli().exit_code == 0
    return business


def rename(business, name="products"):
    business.sync("offers", name=name, resource="product", key="sku", fields=FIELDS)


@pytest.mark.telling
@pytest.mark.parametrize("command", [(), ("plan",)])
def test_a_renamed_sync_stops_before_anything_is_created_and_says_how_to_move_its_records(offers, command):
    rename(offers)

    ran = offers.cli(*command)

    assert ran.exit_code == 2
    assert "error[sync-renamed]: `offers` has 2 records and is no longer in the project" in ran.text
    assert "`dbt-stripe-sync state mv offers products` if it was renamed" in ran.text
    assert offers.stripe.count("product") == 2


@pytest.mark.telling
def test_moving_the_records_leads_to_a_clean_run(offers):
    rename(offers)
    offers.cli("state", "mv", "offers", "products")

    assert offers.cli().exit_code == 0
    assert offers.stripe.count("product") == 2


def test_forgetting_the_records_of_a_removed_sync_leads_to_a_clean_run(offers):
    rename(offers)
    offers.cli("state", "forget", "offers", "--all")

    assert offers.cli().exit_code == 0
    assert offers.stripe.count("product") == 4


def test_a_disabled_sync_does_not_count_as_removed(offers):
    offers.models["offers"]["meta"]["stripe_sync"]["enabled"] = False
    offers.rows("plans", ("c", "Bronze"), columns="sku text, name text")
    offers.sync("plans", resource="product", key="sku", fields=FIELDS)

    assert offers.cli().exit_code == 0
    assert offers.stripe.count("product") == 3


def test_a_new_sync_of_another_resource_continues(offers):
    offers.models.pop("offers")
    offers.rows("people", (1, "a@example.com"), columns="id int, email text")
    offers.sync("people", resource="customer", key="id", fields={"email": "email"})

    assert offers.cli().exit_code == 0
    assert offers.stripe.count("customer") == 1


def test_a_renamed_sync_whose_state_is_lost_is_reported_by_the_tags_in_stripe(offers):
    offers.state.unlink()
    rename(offers)

    ran = offers.cli()

    assert ran.exit_code == 2
    assert "Stripe has 2 product objects of the sync `offers`" in ran.text
    assert offers.stripe.count("product") == 2


def test_following_the_hint_after_a_lost_state_leads_to_a_clean_run(offers):
    offers.state.unlink()
    rename(offers, "offers")
    offers.cli("state", "rebuild")
    rename(offers)
    offers.cli("state", "mv", "offers", "products")

    assert offers.cli().exit_code == 0
    assert offers.stripe.count("product") == 2
