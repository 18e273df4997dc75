"""Objects of several resources are read back: what it costs is said before, and each follows its sync's settings."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from business import by_hand

from dbt_stripe_sync.api import Project
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.model.run import RunStatus
from dbt_stripe_sync.workload import ProjectOptions


class MovedClock(SystemClock):
    """The machine's clock, set forward by hand."""

    moved = timedelta(0)

    def now(self):
        return super().now() + self.moved


def reads(business):
    lines = [line.path for line in business.stripe.requests() if line.method == "GET" and "account" not in line.path]
    business.stripe.reset_requests()
    return lines


def run(business, *arguments):
    ran = business.cli(*(arguments or ("run", "--yes")))
    assert ran.exit_code == 0, ran.out + ran.err
    return ran


@pytest.fixture
def shop(business):
    """A customer who has subscribed to a price, and a coupon."""
    business.rows("customers", ("c1", "a@example.com"), columns="id text, email text")
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})
    business.rows("prices", ("desk", "10.00", "Desk"), columns="id text, amount decimal(10, 2), nickname text")
    business.sync(
        "prices",
        resource="price",
        key="id",
        fields={
            "product_data.name": "id",
            "currency": {"value": "usd"},
            "unit_amount": {"column": "amount", "as": "minor_units", "currency": "usd"},
            "recurring.interval": {"value": "month"},
            "nickname": "nickname",
        },
    )
    business.rows("coupons", ("spring", 12.5, "Spring"), columns="id text, percent decimal(5, 2), label text")
    business.sync(
        "coupons",
        resource="coupon",
        key="id",
        fields={"percent_off": "percent", "duration": {"value": "once"}, "name": "label"},
    )
    business.rows(
        "subs", ("s1", "c1", "desk", 2, "Desks"), columns="id text, customer text, plan text, seats int, d text"
    )
    subscribe(business)
    run(business)
    business.write_calls()
    return business


def subscribe(business, **meta):
    business.sync(
        "subs",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "customers", "key": "customer"},
            "items": [{"price": {"sync": "prices", "key": "plan"}, "quantity": "seats"}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "description": "d",
        },
        **meta,
    )


def only(business, kind):
    (found,) = business.stripe.objects(kind)
    return found


def test_values_written_by_a_run_never_count_as_drift(shop):
    ran = run(shop, "plan", "--refresh")

    assert "Nothing to change" in ran.text
    assert "read back from Stripe" in ran.text


def test_edits_of_all_kinds_are_found_together(shop):
    by_hand(shop, f"prices/{only(shop, 'price')['id']}", nickname="Table")
    by_hand(shop, f"coupons/{only(shop, 'coupon')['id']}", name="Summer")
    subscription = only(shop, "subscription")
    item = subscription["items"]["data"][0]["id"]
    by_hand(shop, f"subscription_items/{item}", quantity=5)

    ran = shop.cli("plan", "--refresh", "--show-values")
    drifted = json.loads(shop.cli("plan", "--refresh", "--format", "json", "--show-values").out)["drifted"]

    assert ran.exit_code == 1
    assert "Desk -> Table" in ran.text
    assert "Spring -> Summer" in ran.text
    assert "items[0].quantity 2 -> 5" in ran.text
    assert {entry["sync"]: [part["path"] for part in entry["fields"]] for entry in drifted} == {
        "prices": ["nickname"],
        "coupons": ["name"],
        "subs": ["items"],
    }


def test_someone_elses_item_is_not_drift_and_stays(shop):
    subscription = only(shop, "subscription")
    product = by_hand(shop, "products", name="Add-on")["id"]
    addon = by_hand(
        shop, "prices", product=product, currency="usd", unit_amount=100, **{"recurring[interval]": "month"}
    )
    by_hand(shop, "subscription_items", subscription=subscription["id"], price=addon["id"])
    subscribe(shop, on_drift="overwrite")
    shop.write_calls()

    run(shop, "run", "--refresh")

    assert shop.write_calls() == []
    assert len(only(shop, "subscription")["items"]["data"]) == 2


def test_a_quantity_changed_by_someone_else_is_restored_on_the_same_item(shop):
    subscription = only(shop, "subscription")
    by_hand(shop, f"subscription_items/{subscription['items']['data'][0]['id']}", quantity=5)
    subscribe(shop, on_drift="overwrite")
    shop.write_calls()

    run(shop, "run", "--refresh")

    assert shop.write_calls() == [f"POST /v1/subscriptions/{subscription['id']}"]
    (item,) = only(shop, "subscription")["items"]["data"]
    assert (item["id"], item["quantity"]) == (subscription["items"]["data"][0]["id"], 2)


def test_a_canceled_subscription_stays_canceled_unless_its_sync_restarts_it(shop):
    ended = only(shop, "subscription")["id"]
    by_hand(shop, f"subscriptions/{ended}", method="DELETE")
    shop.write_calls()

    kept = run(shop, "run", "--refresh")
    before = shop.write_calls()
    subscribe(shop, when_ended="restart")
    run(shop, "run", "--refresh")

    assert "has already ended" in kept.text
    assert before == []
    assert shop.write_calls() == ["POST /v1/subscriptions"]
    living = [s for s in shop.stripe.objects("subscription") if s["status"] != "canceled"]
    assert [s["description"] for s in living] == ["Desks"]
    assert run(shop, "plan", "--refresh").exit_code == 0


def test_a_deleted_coupon_is_created_again(shop):
    by_hand(shop, f"coupons/{only(shop, 'coupon')['id']}", method="DELETE")
    shop.sync(
        "coupons",
        resource="coupon",
        key="id",
        fields={"percent_off": "percent", "duration": {"value": "once"}, "name": "label"},
        on_deleted="recreate",
    )

    run(shop, "run", "--refresh")

    assert only(shop, "coupon")["name"] == "Spring"


# ── what it costs ────────────────────────────────────────────────────────────────────────────────────────────────


def many(business, count, **meta):
    business.table("many", f"SELECT range AS id, 'P' || range AS name FROM range({count})")
    business.sync("many", resource="customer", key="id", fields={"name": "name"}, **meta)


def test_a_thousand_objects_are_read_in_lists_and_the_cost_is_reported_first(business):
    many(business, 1000)
    run(business)
    edited = business.stripe.objects("customer")[500]
    by_hand(business, f"customers/{edited['id']}", name="Edited")
    reads(business)

    ran = business.cli("plan", "--refresh")

    assert len(reads(business)) == 10
    assert ran.exit_code == 1
    assert "reading 1,000 objects back from Stripe (many 1,000): 10 to 1,100 calls" in ran.text
    assert "1,000 objects read back from Stripe with 10 calls (10 of lists)" in ran.text
    assert "1 drifted" in ran.text


def test_few_objects_among_many_are_read_one_by_one(business):
    many(business, 20)
    run(business)
    business.table("foreign", "SELECT range AS id FROM range(1200)")
    business.sync("foreign", resource="customer", key="id", fields={"name": "id"})
    run(business)
    reads(business)

    run(business, "plan", "--refresh", "--select", "many")

    assert len(reads(business)) == 2 + 20


def test_an_object_that_lists_hide_does_not_count_as_deleted(business):
    clock = by_hand(business, "test_helpers/test_clocks", frozen_time=1_900_000_000)["id"]
    business.rows("people", (1, clock), (2, clock), columns="id int, clock text")
    business.sync("people", resource="customer", key="id", fields={"name": "id", "test_clock": "clock"})
    run(business)

    ran = run(business, "plan", "--refresh")

    assert "Nothing to change" in ran.text


def test_refresh_every_reads_objects_back_once_it_is_due(business):
    many(business, 3, refresh_every="7d")
    clock = MovedClock()
    options = ProjectOptions(project_dir=business.root, profiles_dir=business.root, stripe_url=business.stripe.url)
    project = Project(options, clock=clock)
    project.run()
    by_hand(business, f"customers/{business.stripe.objects('customer')[0]['id']}", name="Edited")

    clock.moved = timedelta(days=6)
    early = project.run()
    clock.moved = timedelta(days=7, minutes=1)
    due = project.run()
    reads(business)
    after = project.run()

    assert [early.status, due.status, after.status] == [RunStatus.SUCCEEDED, RunStatus.PARTIAL, RunStatus.PARTIAL]
    assert [problem.code for problem in due.problems] == ["drifted"]
    assert len(reads(business)) == 1
