"""A renamed sync keeps its records, and its objects get the new name with the next plan."""

from __future__ import annotations

import json

import duckdb
import pytest


def tags(business, kind="customer"):
    return sorted(found["metadata"].get("dbt_stripe_sync", "") for found in business.stripe.objects(kind))


def rename(business, model, **meta):
    business.sync(model, **{**business.models[model]["meta"]["stripe_sync"], **meta})


@pytest.fixture
def renamed(customers):
    """Three customers that were written; then their sync got the name `people`."""
    assert customers.cli().exit_code == 0
    rename(customers, "customers", name="people")
    customers.write_calls()
    return customers


PEOPLE = ["shop/people/1", "shop/people/2", "shop/people/3"]
CUSTOMERS = ["shop/customers/1", "shop/customers/2", "shop/customers/3"]


def test_moving_records_only_explains_what_the_next_run_will_do(renamed):
    moved = renamed.cli("state", "mv", "customers", "people")

    assert moved.out.splitlines() == [
        "Moved 3 records from `customers` to `people`.",
        "The next run writes the new name to their objects; `dbt-stripe-sync plan` shows it.",
    ]
    assert renamed.write_calls() == []


def test_the_new_name_is_planned_like_any_other_change_and_sent_once(renamed):
    renamed.cli("state", "mv", "customers", "people")

    shown = renamed.cli("plan")
    (first, *_), planned = renamed.plan(), renamed.plan()
    before = tags(renamed)
    ran = renamed.cli()
    sent = renamed.write_calls()
    again = renamed.cli()

    assert "metadata.dbt_stripe_sync" in shown.text
    assert [change["action"] for change in planned] == ["update"] * 3
    assert [(part["path"], part["before"], part["after"]) for part in first["fields"]] == [
        ("metadata.dbt_stripe_sync", "shop/customers/1", "shop/people/1")
    ]
    assert before == CUSTOMERS
    assert (ran.exit_code, again.exit_code) == (0, 0), ran.err
    assert len(sent) == 3
    assert tags(renamed) == PEOPLE
    assert renamed.write_calls() == []


def test_a_state_that_is_lost_after_the_renaming_creates_nothing_twice(renamed):
    renamed.cli("state", "mv", "customers", "people")
    renamed.cli()
    renamed.state.unlink()
    renamed.write_calls()

    planned = renamed.plan()
    ran = renamed.cli()

    assert planned == []
    assert ran.exit_code == 0, ran.err
    assert renamed.write_calls() == []
    assert renamed.stripe.count("customer") == 3


def test_rebuild_finds_the_objects_by_their_new_name(renamed):
    renamed.cli("state", "mv", "customers", "people")
    renamed.cli()
    renamed.state.unlink()
    renamed.write_calls()

    rebuilt = renamed.cli("state", "rebuild")
    ran = renamed.cli()

    assert rebuilt.exit_code == ran.exit_code == 0, ran.err
    assert renamed.write_calls() == []


def test_the_tag_is_sent_with_other_changes_in_one_call(renamed):
    renamed.cli("state", "mv", "customers", "people")
    renamed.table("customers", "SELECT * REPLACE (CASE id WHEN 2 THEN 'Bea' ELSE name END AS name) FROM customers")
    rename(
        renamed, "customers", fields={"email": "email", "name": "name", "metadata.user_id": "id", "metadata.n": "name"}
    )
    renamed.stripe.reset_requests()

    assert renamed.cli().exit_code == 0

    calls = renamed.stripe.writes()
    assert len(calls) == 3
    bea = next(call.params for call in calls if call.params.get("name"))
    assert bea == {"name": "Bea", "metadata": {"n": "Bea", "dbt_stripe_sync": "shop/people/2"}}
    assert tags(renamed) == PEOPLE


def test_objects_without_the_new_name_get_it_in_a_later_run(renamed):
    renamed.cli("state", "mv", "customers", "people")

    renamed.cli("run", "--limit", "1")
    after_one = tags(renamed)
    renamed.cli()

    assert after_one == [*CUSTOMERS[1:], PEOPLE[0]]
    assert tags(renamed) == PEOPLE


def test_keeping_the_tags_costs_no_call(renamed):
    moved = renamed.cli("state", "mv", "customers", "people", "--keep-tags")

    ran = renamed.cli()

    assert "Their objects keep the old name in Stripe" in moved.text
    assert ran.exit_code == 0
    assert renamed.write_calls() == []
    assert tags(renamed) == CUSTOMERS


def test_undoing_a_rename_costs_no_call(renamed):
    renamed.cli("state", "mv", "customers", "people")
    rename(renamed, "customers", name="customers")
    renamed.cli("state", "mv", "people", "customers")

    ran = renamed.cli()

    assert ran.exit_code == 0
    assert renamed.write_calls() == []
    assert "tagged_as" not in str(records_of(renamed))


def test_a_second_renaming_before_the_run_leads_to_the_last_name(renamed):
    renamed.cli("state", "mv", "customers", "people")
    rename(renamed, "customers", name="persons")
    renamed.cli("state", "mv", "people", "persons")

    (first, *_) = renamed.plan()
    renamed.cli()

    assert first["fields"][0]["before"] == "shop/customers/1"
    assert tags(renamed) == [tag.replace("people", "persons") for tag in PEOPLE]


def test_a_later_decision_to_keep_the_tags_applies(renamed):
    renamed.cli("state", "mv", "customers", "people")
    before = records_of(renamed)
    rename(renamed, "customers", name="persons")
    renamed.cli("state", "mv", "people", "persons", "--keep-tags")

    after = records_of(renamed)

    assert all("$tagged_as" in params for params in before.values())
    assert after == {key: {n: v for n, v in params.items() if n != "$tagged_as"} for key, params in before.items()}
    assert renamed.cli().exit_code == 0
    assert renamed.write_calls() == []


def records_of(business):
    with duckdb.connect(str(business.state), read_only=True) as state:
        return {key: json.loads(params) for key, params in state.execute("SELECT key, params FROM records").fetchall()}


@pytest.mark.parametrize(
    "meta",
    [{"mode": "insert"}, {"mode": "update"}, {"on_removed": "ignore"}, {"on_removed": "delete"}],
    ids=["insert", "update", "ignore", "delete"],
)
def test_every_active_object_gets_the_name_in_any_mode(renamed, meta):
    rename(renamed, "customers", **meta)
    renamed.cli("state", "mv", "customers", "people")
    renamed.table("customers", "SELECT * FROM customers WHERE id < 3")

    ran = renamed.cli("run", "--yes")
    sent = renamed.write_calls()
    again = renamed.cli()

    assert ran.exit_code == again.exit_code == 0, ran.err
    assert len(sent) == 3
    assert tags(renamed) == (PEOPLE[:2] if meta.get("on_removed") == "delete" else PEOPLE)
    assert renamed.write_calls() == []


def test_an_archived_object_carries_its_syncs_new_name(business):
    business.rows("plans", ("solo", "Solo"), ("team", "Team"), columns="code text, name text")
    business.sync("plans", resource="product", key="code", fields={"name": "name"}, on_removed="archive")
    business.cli()
    rename(business, "plans", name="products")
    business.cli("state", "mv", "plans", "products")
    business.table("plans", "SELECT * FROM plans WHERE code = 'solo'")
    business.write_calls()

    ran = business.cli()
    sent = business.write_calls()
    business.state.unlink()
    business.table("plans", "SELECT * FROM plans UNION ALL SELECT 'team', 'Team'")
    back = business.cli()

    assert ran.exit_code == back.exit_code == 0, back.err
    assert len(sent) == 2
    assert tags(business, "product") == ["shop/products/solo", "shop/products/team"]
    assert business.write_calls() == [
        f"POST /v1/products/{p['id']}" for p in business.stripe.objects("product") if p["name"] == "Team"
    ]


def test_a_price_replaced_meanwhile_leaves_one_with_the_new_name(business):
    business.rows("prices", ("m", 1000), ("y", 9000), columns="code text, cents int")
    fields = {"currency": {"value": "usd"}, "unit_amount": "cents", "product_data.name": {"value": "Desk"}}
    business.sync("prices", resource="price", key="code", fields={**fields, "lookup_key": "code"})
    business.cli()
    rename(business, "prices", name="amounts")
    business.cli("state", "mv", "prices", "amounts")
    business.rows("prices", ("m", 2000), ("y", 9000), columns="code text, cents int")

    ran = business.cli()

    assert ran.exit_code == 0, ran.err
    named = {p["unit_amount"]: p["metadata"].get("dbt_stripe_sync") for p in business.stripe.objects("price")}
    assert named == {1000: None, 2000: "shop/amounts/m", 9000: "shop/amounts/y"}


def test_objects_without_a_tag_or_updates_cost_no_call(business):
    business.rows("meters", ("api", "Calls"), columns="name text, title text")
    fields = {"event_name": "name", "display_name": "title", "default_aggregation.formula": {"value": "sum"}}
    business.sync("meters", resource="billing.meter", key="name", fields=fields)
    business.cli()
    rename(business, "meters", name="counters")
    business.cli("state", "mv", "meters", "counters")
    business.write_calls()

    ran = business.cli()

    assert ran.exit_code == 0, ran.err
    assert business.write_calls() == []


def test_values_of_every_kind_survive_a_renaming(business):
    note = """quotes " and \\\\ and {"$tagged_as":"x"}, 日本語"""
    business.rows("people", (1, "a@example.com", note), columns="id int, email text, note text")
    fields = {"email": "email", "metadata.note": "note", "metadata.$tagged_as": "note", "balance": {"value": -(2**40)}}
    business.sync("people", resource="customer", key="id", fields=fields)
    business.cli()
    before = records_of(business)
    business.cli("state", "mv", "people", "a", "--keep-tags")
    untouched = records_of(business)
    business.cli("state", "mv", "a", "b")
    marked = records_of(business)
    business.cli("state", "mv", "b", "c", "--keep-tags")

    assert untouched == before
    assert marked == {"1": {"$tagged_as": "a", **before["1"]}}
    assert records_of(business) == before


def test_values_that_are_not_stored_under_the_new_name_are_gone_from_earlier_runs_too(renamed):
    renamed.cli("state", "mv", "customers", "people")
    rename(renamed, "customers", store_values=False)

    assert renamed.cli().exit_code == 0

    assert b"a@example.com" not in renamed.state.read_bytes()


def test_a_row_forgotten_under_both_names_is_not_a_problem(renamed):
    rename(renamed, "customers", name="customers")
    renamed.cli("state", "forget", "customers", "1")
    renamed.cli()
    rename(renamed, "customers", name="people")
    renamed.cli()
    renamed.cli("state", "forget", "people", "--all")

    moved = renamed.cli("state", "mv", "customers", "people")

    assert moved.exit_code == 0, moved.text
    assert renamed.cli().exit_code == 0
    assert set(tags(renamed)) == set(PEOPLE)


def test_a_sync_with_open_changes_cannot_receive_records(renamed):
    with duckdb.connect(str(renamed.state)) as state:
        state.execute("INSERT INTO intents(id, sync, key) VALUES ('i', 'people', '1')")

    moved = renamed.cli("state", "mv", "customers", "people")

    assert moved.exit_code == 2
    assert "error[sync-undecided]: changes of the sync `people` are unresolved" in moved.text
