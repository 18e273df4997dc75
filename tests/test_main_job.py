"""The main job: each row becomes one object, nothing is sent twice, and only changes are sent."""

from __future__ import annotations

import json

import pytest


def test_the_first_sync_creates_one_object_for_each_row(customers):
    ran = customers.cli()

    assert ran.exit_code == 0, ran.err
    made = {c["metadata"]["user_id"]: (c["email"], c["name"]) for c in customers.stripe.objects("customer")}
    assert made == {"1": ("a@example.com", "Ann"), "2": ("b@example.com", "Bob"), "3": ("c@example.com", "Cem")}


def test_every_object_carries_the_tag_of_its_row(customers):
    customers.cli()

    tags = {c["metadata"]["dbt_stripe_sync"] for c in customers.stripe.objects("customer")}
    assert tags == {"shop/customers/1", "shop/customers/2", "shop/customers/3"}


def test_the_second_sync_sends_nothing(customers):
    customers.cli()
    customers.write_calls()

    ran = customers.cli()

    assert ran.exit_code == 0
    assert customers.write_calls() == []


def test_only_the_changed_parameter_of_a_changed_row_is_sent(customers):
    customers.cli()
    customers.table("customers", "SELECT * REPLACE (CASE id WHEN 2 THEN 'Bea' ELSE name END AS name) FROM customers")
    customers.stripe.reset_requests()

    customers.cli()

    (line,) = customers.stripe.writes()
    assert line.params == {"name": "Bea"}


def test_one_changed_one_new_and_one_removed_row_are_exactly_three_changes(customers):
    customers.sync("customers", **customers.models["customers"]["meta"]["stripe_sync"], on_removed="delete")
    customers.cli()
    customers.table(
        "customers",
        "SELECT id, CASE id WHEN 1 THEN 'new@example.com' ELSE email END AS email, name FROM customers WHERE id <> 3 "
        "UNION ALL SELECT 4, 'd@example.com', 'Dee'",
    )

    planned = {change["key"]: change["action"] for change in customers.plan()}
    customers.write_calls()
    customers.cli("run", "--yes")

    assert planned == {"1": "update", "3": "delete", "4": "create"}
    assert len(customers.write_calls()) == 3
    assert {c["metadata"]["user_id"] for c in customers.stripe.objects("customer")} == {"1", "2", "4"}


def test_a_row_that_left_the_model_stays_in_stripe_unless_the_sync_says_otherwise(customers):
    customers.cli()
    customers.table("customers", "SELECT * FROM customers WHERE id <> 3")

    ran = customers.cli()

    assert ran.exit_code == 0
    assert customers.stripe.count("customer") == 3


@pytest.mark.slow
def test_a_reordered_model_sends_nothing(customers):
    customers.cli()
    customers.table("customers", "SELECT name, id, email FROM customers ORDER BY id DESC")
    customers.write_calls()

    customers.cli()

    assert customers.write_calls() == []


@pytest.mark.slow
def test_an_equivalent_mapping_sends_nothing(customers):
    customers.cli()
    customers.sync(
        "customers",
        resource="customer",
        key="id",
        fields={"metadata": {"user_id": "id"}, "name": {"template": "[[ name ]]"}, "email": {"column": "email"}},
    )
    customers.write_calls()

    ran = customers.cli()

    assert ran.exit_code == 0, ran.err
    assert customers.write_calls() == []


@pytest.mark.slow
def test_a_field_removed_from_the_mapping_is_left_unchanged(customers):
    customers.cli()
    customers.sync("customers", resource="customer", key="id", fields={"email": "email"})

    customers.cli()

    assert {c["name"] for c in customers.stripe.objects("customer")} == {"Ann", "Bob", "Cem"}


def test_plan_sends_nothing_and_apply_sends_what_plan_showed(customers, tmp_path):
    plan = tmp_path / "plan.jsonl"
    shown = customers.cli("plan", "--out", str(plan))
    after_plan = customers.write_calls()

    applied = customers.cli("apply", str(plan))

    assert shown.exit_code == applied.exit_code == 0, applied.err
    assert after_plan == []
    assert customers.stripe.count("customer") == 3
    assert oct(plan.stat().st_mode)[-3:] == "600"


def test_a_plan_is_refused_once_the_state_has_changed(customers, tmp_path):
    plan = tmp_path / "plan.jsonl"
    customers.cli("plan", "--out", str(plan))
    customers.cli("run")

    ran = customers.cli("apply", str(plan))

    assert ran.exit_code == 2
    assert "error[plan-stale]: the state has changed since the plan was made" in ran.err
    assert customers.stripe.count("customer") == 3


def test_an_altered_plan_is_refused(customers, tmp_path):
    plan = tmp_path / "plan.jsonl"
    customers.cli("plan", "--out", str(plan))
    plan.write_text(plan.read_text().replace("a@example.com", "x@example.com"))

    ran = customers.cli("apply", str(plan))

    assert ran.exit_code == 2
    assert "error[plan-altered]" in ran.err
    assert customers.stripe.count("customer") == 0


@pytest.mark.slow
def test_prices_refer_to_the_products_that_the_same_run_creates(business):
    business.rows("plans", ("solo", "Solo"), ("team", "Team"), columns="code text, name text")
    business.rows(
        "prices",
        ("p1", "solo", "usd", 1900),
        ("p2", "team", "usd", 2900),
        columns="code text, plan text, cur text, cents int",
    )
    business.sync("plans", resource="product", key="code", fields={"name": "name"})
    business.sync(
        "prices",
        resource="price",
        key="code",
        fields={"product": {"sync": "plans", "key": "plan"}, "currency": "cur", "unit_amount": "cents"},
    )

    ran = business.cli()
    business.write_calls()
    again = business.cli()

    assert ran.exit_code == again.exit_code == 0, ran.err
    names = {product["id"]: product["name"] for product in business.stripe.objects("product")}
    assert {(p["unit_amount"], names[p["product"]]) for p in business.stripe.objects("price")} == {
        (1900, "Solo"),
        (2900, "Team"),
    }
    assert business.write_calls() == []


def test_a_changed_amount_replaces_the_price_and_transfers_its_lookup_key(business):
    business.rows("prices", ("basic", "usd", 1900), columns="code text, cur text, cents int")
    fields = {"currency": "cur", "unit_amount": "cents", "lookup_key": "code", "product_data.name": {"value": "Basic"}}
    business.sync("prices", resource="price", key="code", fields=fields)
    business.cli()
    business.table("prices", "SELECT code, cur, 2100 AS cents FROM prices")

    actions = [change["action"] for change in business.plan()]
    business.cli()

    assert actions == ["replace", "archive"]
    prices = {p["unit_amount"]: p for p in business.stripe.objects("price")}
    assert (prices[1900]["active"], prices[1900]["lookup_key"]) == (False, None)
    assert (prices[2100]["active"], prices[2100]["lookup_key"]) == (True, "basic")
    assert (
        json.loads(business.cli("state", "list", "prices", "--output", "json").out)["stripe_id"] == prices[2100]["id"]
    )


def test_a_bad_row_is_rejected_alone(customers):
    customers.table("customers", "SELECT * FROM customers UNION ALL SELECT 4, 'd@example.com', repeat('x', 600)")
    customers.sync("customers", resource="customer", key="id", fields={"email": "email", "metadata.note": "name"})

    ran = customers.cli()

    assert ran.exit_code == 1
    assert customers.stripe.count("customer") == 3
    assert "has 600 characters, Stripe accepts 500" in ran.text
    assert "[4]" in ran.text


@pytest.mark.slow
def test_an_archived_product_becomes_active_again_with_its_row(business):
    business.rows("plans", ("solo", "Solo"), ("team", "Team"), columns="code text, name text")
    business.sync("plans", resource="product", key="code", fields={"name": "name"}, on_removed="archive")
    business.cli()
    business.table("plans", "SELECT * FROM plans WHERE code = 'solo'")
    business.cli()
    archived = {p["name"]: p["active"] for p in business.stripe.objects("product")}
    business.table("plans", "SELECT * FROM plans UNION ALL SELECT 'team', 'Team'")

    business.cli()

    assert archived == {"Solo": True, "Team": False}
    assert {p["name"]: p["active"] for p in business.stripe.objects("product")} == {"Solo": True, "Team": True}


@pytest.mark.slow
def test_an_empty_model_removes_nothing(customers):
    customers.sync("customers", **customers.models["customers"]["meta"]["stripe_sync"], on_removed="delete")
    customers.cli()
    customers.table("customers", "SELECT * FROM customers WHERE false")

    ran = customers.cli()

    assert ran.exit_code == 1
    assert customers.stripe.count("customer") == 3
    assert "error[empty-model]" in ran.text


def test_too_many_removals_send_nothing(customers):
    customers.sync(
        "customers",
        **customers.models["customers"]["meta"]["stripe_sync"],
        on_removed="delete",
        limits={"max_removed": "50%"},
    )
    customers.cli()
    customers.table("customers", "SELECT * FROM customers WHERE id = 1")

    ran = customers.cli()

    assert ran.exit_code == 1
    assert customers.stripe.count("customer") == 3
    assert "2 rows to remove, 66.7% of 3 records: `limits.max_removed` of `customers` is 50%" in ran.text


@pytest.mark.slow
def test_insert_leaves_written_rows_alone_and_update_creates_none(customers):
    meta = customers.models["customers"]["meta"]["stripe_sync"]
    customers.sync("customers", **meta, mode="insert")
    customers.cli()
    customers.table(
        "customers", "SELECT * REPLACE ('z' AS name) FROM customers UNION ALL SELECT 4, 'd@example.com', 'z'"
    )

    customers.cli()
    names = sorted(c["name"] for c in customers.stripe.objects("customer"))
    customers.sync("customers", **meta, mode="update")
    customers.table("customers", "SELECT * FROM customers UNION ALL SELECT 5, 'e@example.com', 'z'")
    customers.cli()

    assert names == ["Ann", "Bob", "Cem", "z"]
    assert [c["name"] for c in customers.stripe.objects("customer")] == ["z"] * 4


def test_existing_objects_are_adopted_by_match(customers):
    customers.cli()
    customers.state.unlink()
    for customer in customers.stripe.objects("customer"):
        assert customer["metadata"]["user_id"]
    customers.sync("customers", **customers.models["customers"]["meta"]["stripe_sync"], match=["email"], name="people")

    ran = customers.cli()

    assert ran.exit_code == 0, ran.err
    assert customers.stripe.count("customer") == 3


def test_a_lost_state_creates_nothing_twice(customers):
    customers.cli()
    customers.state.unlink()

    ran = customers.cli()

    assert ran.exit_code == 0, ran.err
    assert customers.stripe.count("customer") == 3
