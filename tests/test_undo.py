"""`undo RUN` reverses what a run changed with the changes of any plan, and first lists what it can't reverse."""

from __future__ import annotations

import json
import re
from typing import Any

import duckdb
import pytest
from business import by_hand
from on_terminal import in_a_terminal

from dbt_stripe_sync.sandbox import Fault

CUSTOMERS = {"resource": "customer", "key": "id", "fields": {"email": "email", "name": "name", "metadata.plan": "plan"}}
PRICES: dict[str, Any] = {
    "resource": "price",
    "key": "code",
    "fields": {
        "product": "product",
        "currency": {"value": "usd"},
        "unit_amount": "amount",
        "lookup_key": "code",
        "nickname": "nickname",
    },
    "on_removed": "archive",
}


def customers(business, *rows, **meta):
    business.rows("customers", *rows, columns="id text, email text, name text, plan text")
    business.sync("customers", **{**CUSTOMERS, **meta})


def prices(business, *rows, **meta):
    business.rows("prices", *rows, columns="code text, product text, amount int, nickname text")
    business.sync("prices", **{**PRICES, **meta})


def usage(metered):
    metered.rows("usage", ("u1", "c1", 5), columns="id text, customer text, quantity int")
    fields = {
        "event_name": {"value": "api"},
        "payload.stripe_customer_id": {"sync": "customers", "key": "customer"},
        "payload.value": "quantity",
    }
    metered.sync("usage", resource="billing.meter_event", key="id", fields=fields)


def run(business) -> str:
    """Run, and give the run's id."""
    ran = business.cli()
    assert ran.exit_code == 0, ran.out + ran.err
    return last_run(business)


def last_run(business) -> str:
    return json.loads(business.cli("runs", "--output", "json", "--limit", "1").out.splitlines()[0])["run"]


def undo(business, run_id, exit_code=0):
    ran = business.cli("undo", run_id, "--yes")
    assert ran.exit_code == exit_code, ran.out + ran.err
    return ran


def plan_again(business):
    return sorted((change["action"], change["key"]) for change in business.plan())


def only(business, kind):
    (found,) = business.stripe.objects(kind)
    return found


@pytest.mark.telling
def test_an_undone_update_is_in_the_next_plan_again(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"), ("2", "b@example.com", None, None))
    run(business)
    customers(business, ("1", "new@example.com", "Ann", "team"), ("2", "b@example.com", "Bob", "solo"))
    changed = run(business)

    undo(business, changed)

    by_email = {body["email"]: body for body in business.stripe.objects("customer")}
    assert by_email["a@example.com"]["metadata"]["plan"] == "solo"
    assert (by_email["b@example.com"]["name"], "plan" in by_email["b@example.com"]["metadata"]) == (None, False)
    assert plan_again(business) == [("update", "1"), ("update", "2")]
    run(business)
    assert {body["email"] for body in business.stripe.objects("customer")} == {"new@example.com", "b@example.com"}
    assert plan_again(business) == []


@pytest.mark.telling
def test_a_created_object_is_deleted_and_created_again_by_the_next_run(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    created = run(business)

    undo(business, created)

    assert business.stripe.count("customer") == 0
    assert plan_again(business) == [("create", "1")]
    run(business)
    assert business.stripe.count("customer") == 1


@pytest.mark.telling
def test_each_object_that_an_undo_removes_counts_once_in_its_totals(metered):
    usage(metered)
    created = run(metered)

    planned = metered.cli("undo", created).out
    ran = undo(metered, created, exit_code=1)

    assert "0 rows" not in planned
    assert re.search(r"! usage -> billing.meter_event +1 row +1 rejected", ran.out)
    assert "1 row and 2 removals: 2 written, 1 rejected, 0 unchanged" in ran.out
    (last,) = [json.loads(line) for line in metered.cli("runs", "--output", "json", "--limit", "1").out.splitlines()]
    assert (last["rows"], last["removals"], last["written"], last["rejected"]) == (1, 2, 2, 1)


def test_a_created_object_that_can_be_archived_is_archived_and_reactivated(business):
    by_hand(business, "products", id="team", name="Team")
    prices(business, ("team", "team", 100, "Team"))
    created = run(business)

    undo(business, created)

    assert only(business, "price")["active"] is False
    assert plan_again(business) == [("update", "team")]
    run(business)
    assert only(business, "price")["active"] is True
    assert plan_again(business) == []


@pytest.mark.telling
@pytest.mark.parametrize("is_default", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_replaced_price_is_restored(business, is_default):
    by_hand(business, "products", id="team", name="Team")
    prices(business, ("team", "team", 100, "Team"), options={"move_holders": True})
    run(business)
    old = only(business, "price")["id"]
    if is_default:
        by_hand(business, "products/team", default_price=old)
    prices(business, ("team", "team", 200, "Team"), options={"move_holders": True})
    replaced = run(business)
    (new,) = {body["id"] for body in business.stripe.objects("price")} - {old}

    undo(business, replaced)

    by_id = {body["id"]: body for body in business.stripe.objects("price")}
    assert (by_id[old]["active"], by_id[old]["lookup_key"]) == (True, "team")
    assert (by_id[new]["active"], by_id[new]["lookup_key"]) == (False, None)
    assert by_id[old]["metadata"]["dbt_stripe_sync"] == "shop/prices/team"
    assert "dbt_stripe_sync" not in by_id[new]["metadata"]
    assert only(business, "product")["default_price"] == (old if is_default else None)
    assert plan_again(business) == [("archive", "team"), ("replace", "team")]
    run(business)
    assert sum(body["active"] for body in business.stripe.objects("price")) == 1
    assert plan_again(business) == []


def test_an_archived_object_is_active_again_and_the_next_plan_archives_it_again(business):
    by_hand(business, "products", id="team", name="Team")
    prices(business, ("team", "team", 100, "Team"), ("solo", "team", 50, "Solo"))
    run(business)
    prices(business, ("team", "team", 100, "Team"))
    archived = run(business)

    undo(business, archived)

    assert all(body["active"] for body in business.stripe.objects("price"))
    assert {body["lookup_key"] for body in business.stripe.objects("price")} == {"team", "solo"}
    assert plan_again(business) == [("archive", "solo")]


def test_an_adopted_object_is_released_in_its_original_form(business):
    by_hand(business, "customers", email="a@example.com", name="Theirs")
    customers(business, ("1", "a@example.com", "Ours", "solo"), match=["email"])
    adopted = run(business)

    undo(business, adopted)

    found = only(business, "customer")
    assert (found["name"], found["metadata"]) == ("Theirs", {})
    assert plan_again(business) == [("adopt", "1")]
    run(business)
    assert business.stripe.count("customer") == 1


@pytest.mark.telling
def test_a_deleted_object_is_listed_first_and_the_others_are_undone(business):
    ann, bob = ("1", "a@example.com", "Ann", "solo"), ("2", "b@example.com", "Bob", "solo")
    customers(business, ann, bob, on_removed="delete")
    run(business)
    customers(business, ("2", "b@example.com", "Bobby", "solo"), on_removed="delete")
    ran = business.cli("run", "--yes")
    assert ran.exit_code == 0, ran.text

    undone = business.cli("undo", last_run(business))

    assert undone.exit_code == 1
    assert undone.out.index("Can't be undone") < undone.out.index("customers -> customer")
    assert "was deleted, which Stripe can't reverse" in undone.out
    assert "cannot-undo" in undone.out
    undo(business, last_run(business), exit_code=1)
    assert only(business, "customer")["name"] == "Bob"


@pytest.mark.telling
def test_objects_that_others_changed_since_are_left_alone(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"), ("2", "b@example.com", "Bob", "solo"))
    run(business)
    customers(business, ("1", "a@example.com", "Anna", "solo"), ("2", "b@example.com", "Bobby", "solo"))
    changed = run(business)
    (ann,) = [body["id"] for body in business.stripe.objects("customer") if body["name"] == "Anna"]
    by_hand(business, f"customers/{ann}", name="By hand")

    ran = undo(business, changed, exit_code=1)

    assert f"`name` of {ann} was changed in Stripe since" in ran.err
    assert {body["name"] for body in business.stripe.objects("customer")} == {"By hand", "Bob"}


def test_objects_that_a_later_run_changed_are_left_alone(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    run(business)
    customers(business, ("1", "a@example.com", "Anna", "solo"))
    changed = run(business)
    customers(business, ("1", "a@example.com", "Annabel", "solo"))
    run(business)

    ran = undo(business, changed, exit_code=1)

    assert "a later run has changed cus_" in ran.err
    assert only(business, "customer")["name"] == "Annabel"


def test_a_second_undo_finds_nothing_to_do(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    run(business)
    customers(business, ("1", "a@example.com", "Anna", "team"), ("2", "b@example.com", "Bob", "solo"))
    changed = run(business)
    undo(business, changed)
    business.stripe.reset_requests()

    undo(business, changed)

    assert business.stripe.writes() == []


def test_a_saved_undo_plan_is_sent_by_apply(business, tmp_path):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    run(business)
    customers(business, ("1", "a@example.com", "Anna", "solo"))
    changed = run(business)
    file = tmp_path / "undo.plan"

    shown = business.cli("undo", changed, "--out", str(file))
    before = only(business, "customer")["name"]
    applied = business.cli("apply", str(file))

    assert shown.exit_code == 0, shown.text
    assert before == "Anna"
    assert applied.exit_code == 0, applied.text
    assert only(business, "customer")["name"] == "Ann"


@pytest.mark.telling
def test_without_a_terminal_or_yes_undo_only_shows_the_plan(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    created = run(business)
    business.stripe.reset_requests()

    text = business.cli("undo", created)
    document = business.cli("undo", created, "--output", "json")

    assert text.exit_code == 0, text.text
    assert "--yes` sends this plan" in text.err
    (change,) = json.loads(document.out)["changes"]
    assert (change["action"], change["reason"]) == ("delete", f"undoes run {created}")
    assert business.stripe.writes() == []


def test_a_state_without_values_can_undo_creations_alone(business):
    business.set(store_values=False)
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    run(business)
    customers(business, ("1", "a@example.com", "Anna", "solo"), ("2", "b@example.com", "Bob", "solo"))
    changed = run(business)

    ran = undo(business, changed, exit_code=1)

    assert "doesn't store its values" in ran.err
    assert only(business, "customer")["name"] == "Anna"


@pytest.mark.telling
def test_an_unknown_run_is_refused(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    run(business)

    ran = business.cli("undo", "19990101", "--yes")

    assert ran.exit_code == 2
    assert "unknown run `19990101`" in ran.err


def test_an_ambiguous_run_prefix_is_rejected(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    first = run(business)
    customers(business, ("1", "a@example.com", "Anna", "solo"))
    second = run(business)

    ran = business.cli("undo", first[:2], "--yes")
    report = business.cli("report", first[:2], "--output", "text")

    assert (ran.exit_code, report.exit_code) == (2, 2)
    assert f"error[ambiguous-run]: the ids of 2 runs begin with `{first[:2]}`: `{second}`, `{first}`" in ran.text
    assert only(business, "customer")["name"] == "Anna"


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("n", 1)])
def test_on_a_terminal_undo_shows_the_plan_and_asks(business, answer, left):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    created = run(business)

    shown, code = in_a_terminal(business, ["undo", created], [answer])

    assert "- 1" in shown
    assert f"Undo 1 change of run {created}?" in shown
    assert code == (0 if answer == "y" else 2), shown
    assert business.stripe.count("customer") == left


def test_a_run_without_stored_changes_says_so(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    created = run(business)
    with duckdb.connect(str(business.state)) as state:
        state.execute("DELETE FROM outcomes")

    ran = undo(business, created, exit_code=2)

    assert "run-forgotten" in ran.err


def test_objects_that_stripe_never_removes_are_listed_and_their_parents_are_deleted(metered):
    usage(metered)
    sent = run(metered)

    ran = undo(metered, sent, exit_code=1)

    assert "Stripe can't remove a billing.meter_event once it is created" in ran.err
    assert metered.stripe.count("customer") == 0


def test_a_subscription_is_undone_before_its_customer_and_returns_to_the_old_price(business):
    by_hand(business, "products", id="team", name="Team")
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    recurring = {**PRICES["fields"], "recurring.interval": {"value": "month"}}
    prices(business, ("team", "team", 100, "Team"), fields=recurring)
    business.rows("contracts", ("s1", "1", "team"), columns="id text, customer text, price text")
    fields = {
        "customer": {"sync": "customers", "key": "customer"},
        "items": [{"price": {"sync": "prices", "key": "price"}}],
        "collection_method": {"value": "send_invoice"},
        "days_until_due": {"value": 14},
    }
    business.sync("contracts", resource="subscription", key="id", fields=fields)
    created = run(business)
    old = only(business, "price")["id"]
    prices(business, ("team", "team", 200, "Team"), fields=recurring)
    replaced = run(business)

    undo(business, replaced)

    (item,) = only(business, "subscription")["items"]["data"]
    assert item["price"]["id"] == old
    assert [body["id"] for body in business.stripe.objects("price") if body["active"]] == [old]
    assert ("replace", "team") in plan_again(business)
    undo(business, created)
    assert business.stripe.count("customer") == 0
    assert {body["status"] for body in business.stripe.objects("subscription")} == {"canceled"}
    assert not any(body["active"] for body in business.stripe.objects("price"))


def contracts(business, *rows):
    """Subscriptions of customers, each with a days_until_due of its own."""
    if business.stripe.count("price") == 0:
        by_hand(business, "products", id="team", name="Team")
        by_hand(business, "prices", product="team", currency="usd", unit_amount=100, **{"recurring[interval]": "month"})
    business.rows("contracts", *rows, columns="id text, customer text, days int")
    fields = {
        "customer": {"sync": "customers", "key": "customer"},
        "items": [{"price": {"value": only(business, "price")["id"]}}],
        "collection_method": {"value": "send_invoice"},
        "days_until_due": "days",
    }
    business.sync("contracts", resource="subscription", key="id", fields=fields)


def all_active(business):
    return {body["status"] for body in business.stripe.objects("subscription")} == {"active"}


@pytest.mark.telling
def test_a_customer_stays_if_its_subscription_was_changed_since(business):
    """Deleting it would cancel the subscription, which the undo itself leaves alone."""
    customers(business, ("1", "a@example.com", None, None))
    contracts(business, ("s1", "1", 14))
    created = run(business)
    contracts(business, ("s1", "1", 30))
    run(business)

    ran = undo(business, created, exit_code=1)

    assert "row [s1] of `contracts` is not changed by this plan, and still refers to this customer" in ran.err
    assert (business.stripe.count("customer"), all_active(business)) == (1, True)


def test_a_customer_stays_if_a_later_run_created_its_subscription(business):
    customers(business, ("1", "a@example.com", None, None))
    created = run(business)
    contracts(business, ("s1", "1", 14))
    run(business)

    ran = undo(business, created, exit_code=1)

    assert "row [s1] of `contracts` is not changed by this plan, and still refers to this customer" in ran.err
    assert (business.stripe.count("customer"), all_active(business)) == (1, True)


def test_a_customer_stays_if_only_its_own_sync_is_selected(business):
    customers(business, ("1", "a@example.com", None, None))
    contracts(business, ("s1", "1", 14))
    created = run(business)

    ran = business.cli("undo", created, "--yes", "--select", "customers")

    assert ran.exit_code == 1, ran.text
    assert (business.stripe.count("customer"), all_active(business)) == (1, True)


def test_a_customer_waits_for_the_end_of_its_subscription(business):
    customers(business, ("1", "a@example.com", None, None), ("2", "b@example.com", None, None))
    contracts(business, ("s1", "1", 14), ("s2", "2", 14))
    created = run(business)
    business.stripe.inject(Fault.status_code(500, method="DELETE", path="^/v1/subscriptions/"))

    undo(business, created, exit_code=1)

    assert business.stripe.count("customer") == 1
    undo(business, created)
    assert business.stripe.count("customer") == 0


@pytest.mark.telling
def test_a_schedule_made_from_a_subscription_is_released_so_that_the_subscription_continues(business):
    customers(business, ("1", "a@example.com", None, None))
    contracts(business, ("s1", "1", 14))
    run(business)
    business.rows("schedules", ("x", only(business, "subscription")["id"]), columns="id text, subscription text")
    fields = {"from_subscription": "subscription"}
    business.sync("schedules", resource="subscription_schedule", key="id", fields=fields)
    created = run(business)

    undo(business, created)

    assert only(business, "subscription_schedule")["status"] == "released"
    assert all_active(business)


@pytest.mark.telling
def test_an_object_that_returned_is_archived_again_and_the_next_run_activates_it(business):
    by_hand(business, "products", id="team", name="Team")
    both = [("solo", "team", 100, None), ("team", "team", 200, None)]
    prices(business, *both)
    run(business)
    prices(business, both[0])
    run(business)
    prices(business, *both)
    returned = run(business)

    undo(business, returned)

    assert sorted(p["active"] for p in business.stripe.objects("price")) == [False, True]
    assert plan_again(business) == [("update", "team")]
    run(business)
    assert all(p["active"] for p in business.stripe.objects("price"))


def test_a_price_that_was_archived_before_the_run_that_replaced_it_is_not_activated(business):
    by_hand(business, "products", id="team", name="Team")
    both = [("solo", "team", 100, None), ("team", "team", 200, None)]
    prices(business, *both)
    run(business)
    prices(business, both[0])
    run(business)
    prices(business, both[0], ("team", "team", 300, None))
    returned = run(business)

    ran = undo(business, returned, exit_code=1)

    assert "was not in use before the run" in ran.err
    assert sorted(p["unit_amount"] for p in business.stripe.objects("price") if p["active"]) == [100, 300]


def test_a_meter_that_the_run_reactivated_is_listed(business):
    def write(*names):
        business.rows("meters", *((name,) for name in names), columns="name text")
        fields = {"event_name": "name", "display_name": "name", "default_aggregation.formula": {"value": "sum"}}
        business.sync("meters", resource="billing.meter", key="name", fields=fields, on_removed="deactivate")

    for names in (("calls", "seats"), ("calls",), ("calls", "seats")):
        write(*names)
        last = run(business)

    ran = undo(business, last, exit_code=1)

    assert "`reactivate` of mtr_" in ran.err


def test_a_code_that_ended_before_its_replacement_is_listed_once_and_its_coupon_stays(business):
    def write(*, code):
        business.rows("coupons", *((name,) for name in {"ten", code}), columns="id text")
        coupon = {"percent_off": {"value": 10}, "duration": {"value": "once"}}
        business.sync("coupons", resource="coupon", key="id", fields=coupon)
        business.rows("codes", ("x", code), columns="id text, coupon text")
        fields = {
            "promotion.type": {"value": "coupon"},
            "promotion.coupon": {"sync": "coupons", "key": "coupon"},
            "code": {"value": "HELLO"},
        }
        business.sync("codes", resource="promotion_code", key="id", fields=fields)

    write(code="ten")
    run(business)
    write(code="other")
    moved = run(business)

    ran = undo(business, moved, exit_code=1)

    assert ran.err.count("ended before a new object replaced it") == 1
    assert "rejected[" not in ran.err
    assert business.stripe.count("coupon") == 2
    assert [code["active"] for code in business.stripe.objects("promotion_code")] == [False, True]


def test_rows_that_the_warehouse_compares_are_sent_again_after_an_undo(business):
    business.set(diff="warehouse")
    customers(business, ("1", "a@example.com", "Ann", "solo"), ("2", "b@example.com", "Bob", "solo"))
    run(business)
    customers(business, ("1", "a@example.com", "Anna", "solo"), ("2", "b@example.com", "Bob", "solo"))
    changed = run(business)

    undo(business, changed)

    assert {body["name"] for body in business.stripe.objects("customer")} == {"Ann", "Bob"}
    assert plan_again(business) == [("update", "1")]
    run(business)
    assert {body["name"] for body in business.stripe.objects("customer")} == {"Anna", "Bob"}


def test_a_field_that_one_sync_sets_on_the_object_of_another_is_undone(business):
    business.rows("plans", ("team", "month"), columns="code text, price text")
    fields = {"id": "code", "name": "code", "default_price": {"sync": "prices", "key": "price"}}
    business.sync("plans", resource="product", key="code", fields=fields)
    business.rows(
        "prices", ("month", "team", 100), ("year", "team", 900), columns="code text, product text, amount int"
    )
    own = {**PRICES["fields"], "product": {"sync": "plans", "key": "product"}}
    own.pop("nickname")
    business.sync("prices", **{**PRICES, "fields": own})
    run(business)
    month = only(business, "product")["default_price"]
    business.rows("plans", ("team", "year"), columns="code text, price text")
    moved = run(business)

    undo(business, moved)

    assert only(business, "product")["default_price"] == month
    assert [action for action, _ in plan_again(business)] == ["update"]


def test_only_selected_syncs_are_undone(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    by_hand(business, "products", id="team", name="Team")
    prices(business, ("team", "team", 100, "Team"))
    created = run(business)

    ran = business.cli("undo", created, "--yes", "--select", "prices")

    assert ran.exit_code == 0, ran.text
    assert business.stripe.count("customer") == 1
    assert only(business, "price")["active"] is False


def test_a_sync_removed_from_the_project_is_named(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"))
    created = run(business)
    del business.models["customers"]
    prices(business)

    ran = undo(business, created, exit_code=1)

    assert "the project no longer has the sync `customers`" in ran.err
    assert business.stripe.count("customer") == 1


@pytest.mark.telling
def test_a_row_whose_last_change_is_unresolved_is_left_alone(business):
    customers(business, ("1", "a@example.com", "Ann", "solo"), ("2", "b@example.com", "Bob", "solo"))
    run(business)
    customers(business, ("1", "a@example.com", "Anna", "solo"), ("2", "b@example.com", "Bobby", "solo"))
    changed = run(business)
    ann = next(body["id"] for body in business.stripe.objects("customer") if body["name"] == "Anna")
    customers(business, ("1", "a@example.com", "Annabel", "solo"), ("2", "b@example.com", "Bobby", "solo"))
    business.stripe.inject(Fault.status_code(500, path=f"^/v1/customers/{ann}$", method="POST", count=None))
    assert business.cli().exit_code == 1

    ran = business.cli("undo", changed, "--yes")

    assert ran.exit_code == 1
    assert "unresolved" in ran.err
    business.stripe.clear_faults()
    assert {body["name"] for body in business.stripe.objects("customer")} == {"Anna", "Bob"}


@pytest.mark.telling
@pytest.mark.parametrize("again", ["retry", "run"])
def test_a_replacement_whose_old_object_a_later_run_archived_is_undone_by_its_own_run(business, again):
    by_hand(business, "products", id="team", name="Team")
    prices(business, ("team", "team", 100, "Team"))
    run(business)
    old = only(business, "price")["id"]
    prices(business, ("team", "team", 200, "Team"))
    business.stripe.inject(Fault.forbidden(count=None, method="POST", path="^/v1/prices/"))
    assert business.cli().exit_code == 1
    replaced = last_run(business)
    business.stripe.clear_faults()
    assert business.cli(again).exit_code == 0
    archived = last_run(business)

    of_later = undo(business, archived, exit_code=1)
    undo(business, replaced)

    assert f"{old} ended, which run {replaced} had left to do; `undo {replaced}` restores it" in of_later.text
    assert {body["id"]: body["active"] for body in business.stripe.objects("price")}[old] is True
    assert sum(body["active"] for body in business.stripe.objects("price")) == 1
