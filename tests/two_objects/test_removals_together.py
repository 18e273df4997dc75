"""Objects that are removed in one plan, where one would end the other too early; and how to resolve that."""

from __future__ import annotations

import time

import pytest

from dbt_stripe_sync.engine.apply import lanes
from dbt_stripe_sync.engine.plan import making
from dbt_stripe_sync.sandbox import Fault


@pytest.fixture
def contracts(shop):
    """Two people and a subscription of each. `leave` takes one of both out of the models."""

    def rows(*names):
        shop.rows("people", *[(name, f"{name}@example.com") for name in names], columns="id text, email text")
        shop.rows("subs", *[(f"s-{name}", name, price) for name in names], columns="id text, person text, price text")

    product = shop.hand.v1.products.create({"name": "Desk"}).id
    price = shop.hand.v1.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 1000, "recurring": {"interval": "month"}}
    ).id
    rows("ann", "bo")
    shop.sync("people", resource="customer", fields={"email": "email"}, on_removed="delete")
    shop.sync(
        "subs",
        resource="subscription",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "items": [{"price": "price"}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 14},
        },
    )
    shop.write_rows = rows
    return shop


def end_with(shop, on_removed):
    meta = shop.business.models["subs"]["meta"]["stripe_sync"]
    shop.business.sync("subs", **meta, on_removed=on_removed)


def test_a_customer_waits_for_a_subscription_that_ends_with_its_period(contracts):
    end_with(contracts, "cancel_at_period_end")
    contracts.succeeds()
    contracts.write_rows("bo")

    ran = contracts.succeeds()

    assert "dependent-ends-later" in ran.text
    assert contracts.stripe.count("customer") == 2
    assert sorted((s["status"], s["cancel_at_period_end"]) for s in contracts.objects("subscription")) == [
        ("active", False),
        ("active", True),
    ]
    contracts.writes()
    assert "waits until its subscription has ended" in contracts.succeeds("plan").text
    contracts.check_settled()

    ending = next(s["id"] for s in contracts.objects("subscription") if s["cancel_at_period_end"])
    contracts.hand.v1.subscriptions.cancel(ending)
    contracts.succeeds()

    assert contracts.stripe.count("customer") == 1
    contracts.check_settled()


def test_a_customer_stays_while_the_sync_of_its_subscription_is_held_back(contracts):
    end_with(contracts, "cancel")
    contracts.business.models["subs"]["meta"]["stripe_sync"]["limits"] = {"max_removed": 0}
    contracts.succeeds()
    contracts.write_rows("bo")

    ran = contracts.fails()

    assert "error[max-removed]" in ran.text
    assert "row [s-ann] of `subs` can't be changed in this plan, and still refers to this customer" in ran.text
    assert contracts.stripe.count("customer") == 2
    assert {s["status"] for s in contracts.objects("subscription")} == {"active"}


def test_a_customer_is_deleted_by_the_next_run_if_subscriptions_start_after_all_customers(contracts):
    """`after` makes each of the two wait for the other."""
    end_with(contracts, "cancel")
    contracts.business.models["subs"]["meta"]["stripe_sync"]["after"] = ["people"]
    contracts.succeeds()
    contracts.write_rows("bo")

    ran = contracts.succeeds()

    assert "row [s-ann] of `subs` has to change first, and `subs` starts after `people`" in ran.text
    assert contracts.stripe.count("customer") == 2
    assert sorted(s["status"] for s in contracts.objects("subscription")) == ["active", "canceled"]
    contracts.succeeds()
    assert contracts.stripe.count("customer") == 1
    contracts.check_settled()


def test_a_run_whose_changes_wait_for_each_other_skips_them_and_ends(contracts, monkeypatch):
    """Plans don't contain such changes, so this one is made without the step that leaves them out."""
    monkeypatch.setattr(making, "leave_for_next_run", lambda *_: None)
    monkeypatch.setattr(lanes, "STUCK_SECONDS", 0.3)
    end_with(contracts, "cancel")
    contracts.business.models["subs"]["meta"]["stripe_sync"]["after"] = ["people"]
    contracts.succeeds()
    contracts.write_rows("bo")

    ran = contracts.fails()

    assert "subs/s-ann was not written" in ran.text
    assert sorted(s["status"] for s in contracts.objects("subscription")) == ["active", "canceled"]
    contracts.succeeds()
    assert contracts.stripe.count("customer") == 1


@pytest.fixture
def with_items(contracts):
    """Each subscription has an item of another sync, too. `leave` takes a person out of all models."""
    price = contracts.hand.v1.prices.create(
        {
            "product": contracts.objects("product")[0]["id"],
            "currency": "usd",
            "unit_amount": 200,
            "recurring": {"interval": "month"},
        }
    ).id

    def leave(*names):
        contracts.write_rows(*names)
        contracts.rows("items", *[(f"i-{name}", f"s-{name}", price) for name in names], columns=columns)

    columns = "id text, sub text, price text"
    contracts.leave = leave
    contracts.sync(
        "items",
        resource="subscription_item",
        fields={"subscription": {"sync": "subs", "key": "sub"}, "price": "price"},
        on_removed="delete",
    )
    leave("ann", "bo")
    return contracts


def test_an_item_stays_until_its_subscription_ends_with_its_period(with_items):
    end_with(with_items, "cancel_at_period_end")
    with_items.succeeds()
    with_items.leave("bo")

    ran = with_items.succeeds()

    assert "warning[dependent-ends-later]" in ran.text
    assert len(with_items.objects("subscription_item")) == 4
    with_items.check_settled()

    ending = next(s["id"] for s in with_items.objects("subscription") if s["cancel_at_period_end"])
    with_items.hand.v1.subscriptions.cancel(ending)
    ran = with_items.succeeds()

    assert "dependent-ends-later" not in ran.text
    assert with_items.stripe.count("customer") == 1
    with_items.check_settled()


def test_an_item_of_a_subscription_that_stays_leaves_at_once(with_items):
    end_with(with_items, "cancel_at_period_end")
    with_items.succeeds()
    with_items.business.table("items", "SELECT * FROM items WHERE id = 'i-bo'")

    with_items.succeeds()

    assert len(with_items.objects("subscription_item")) == 3
    with_items.check_settled()


@pytest.fixture
def scheduled(contracts):
    """Each subscription has a schedule. `leave` takes subscriptions and schedules out of their models."""

    def leave(*names, also_subs=True):
        contracts.business.table("scheds", f"SELECT 'p' || id AS id, id AS sub FROM subs WHERE {among(names)}")
        if also_subs:
            contracts.business.table("subs", f"SELECT * FROM subs WHERE {among(names)}")

    def among(names):
        return " OR ".join(f"person = '{name}'" for name in names)

    contracts.leave = leave
    contracts.sync(
        "scheds", resource="subscription_schedule", fields={"from_subscription": {"sync": "subs", "key": "sub"}}
    )
    leave("ann", "bo")
    return contracts


def let_schedules(shop, on_removed):
    meta = shop.business.models["scheds"]["meta"]["stripe_sync"]
    shop.business.sync("scheds", **{**meta, "on_removed": on_removed})


def endings(shop):
    return sorted((s["status"], s["cancel_at_period_end"]) for s in shop.objects("subscription"))


def test_a_schedule_does_not_end_a_subscription_that_ends_later(scheduled):
    end_with(scheduled, "cancel_at_period_end")
    let_schedules(scheduled, "cancel")
    scheduled.succeeds()
    scheduled.leave("bo")

    ran = scheduled.fails()

    assert "error[ends-with-it]" in ran.text
    assert "set `on_removed: deactivate` on `scheds`" in ran.text
    assert endings(scheduled) == [("active", False), ("active", False)]

    let_schedules(scheduled, "deactivate")
    scheduled.succeeds()

    # The schedule has to release it first: Stripe rejects the other order.
    assert endings(scheduled) == [("active", False), ("active", True)]
    scheduled.check_settled()


def test_a_schedule_does_not_end_a_subscription_whose_row_stays(scheduled):
    let_schedules(scheduled, "cancel")
    scheduled.succeeds()
    scheduled.leave("bo", also_subs=False)

    assert "error[ends-with-it]" in scheduled.fails().text
    assert endings(scheduled) == [("active", False), ("active", False)]


def test_a_schedule_and_a_subscription_that_end_at_once_are_removed_in_one_run(scheduled):
    end_with(scheduled, "cancel")
    let_schedules(scheduled, "cancel")
    scheduled.succeeds()
    scheduled.leave("bo")

    scheduled.succeeds()

    assert endings(scheduled) == [("active", False), ("canceled", False)]
    scheduled.check_settled()


def test_a_customer_stays_for_a_schedule_that_has_not_begun(contracts):
    contracts.succeeds()
    contracts.business.table("subs", "SELECT * FROM subs WHERE person = 'bo'")
    meta = contracts.business.models["subs"]["meta"]["stripe_sync"]
    contracts.business.sync("subs", **meta, on_removed="cancel")
    contracts.succeeds()
    ann = next(c["id"] for c in contracts.objects("customer") if c["email"].startswith("ann"))
    price = contracts.objects("price")[0]["id"]
    later = {"customer": ann, "start_date": int(time.time()) + 86_400, "phases": [{"items": [{"price": price}]}]}
    scheduled = contracts.hand.v1.subscription_schedules.create(later).id
    contracts.business.table("people", "SELECT * FROM people WHERE id = 'bo'")

    ran = contracts.fails()

    assert f"error[ends-with-it]: {scheduled}" in ran.text
    assert contracts.stripe.count("customer") == 2

    contracts.hand.v1.subscription_schedules.cancel(scheduled)
    contracts.succeeds()

    assert contracts.stripe.count("customer") == 1
    contracts.check_settled()


def test_a_customer_and_a_subscription_that_ends_at_once_are_removed_in_one_run(contracts):
    end_with(contracts, "cancel")
    contracts.succeeds()
    contracts.write_rows("bo")

    contracts.succeeds()

    assert contracts.stripe.count("customer") == 1
    assert sorted(s["status"] for s in contracts.objects("subscription")) == ["active", "canceled"]
    contracts.check_settled()


def forget(shop):
    shop.succeeds("state", "forget", "people", "ann")


def recreate(shop):
    assert "`on_deleted: recreate`" in shop.fails().text
    meta = shop.business.models["people"]["meta"]["stripe_sync"]
    shop.business.sync("people", **meta, on_deleted="recreate")


@pytest.mark.parametrize("way", [forget, recreate])
def test_a_customer_that_somebody_deleted_is_not_a_dead_end(contracts, way):
    contracts.succeeds()
    ann = next(c["id"] for c in contracts.objects("customer") if c["email"].startswith("ann"))
    contracts.hand.v1.customers.delete(ann)
    people = [("ann", "ann.new@example.com"), ("bo", "bo@example.com")]
    contracts.rows("people", *people, columns="id text, email text")
    assert "`dbt-stripe-sync state forget people KEY`" in " ".join(contracts.fails().text.split())

    way(contracts)
    contracts.succeeds()

    # Stripe has canceled her subscription with the customer, and one that has ended stays so (`when_ended`).
    assert sorted(c["email"] for c in contracts.living("customer")) == ["ann.new@example.com", "bo@example.com"]
    assert len(contracts.living("subscription")) == 1
    contracts.check_settled()


def test_with_restart_the_subscription_of_a_customer_that_is_created_again_is_created_again_too(contracts):
    meta = contracts.business.models["subs"]["meta"]["stripe_sync"]
    contracts.business.sync("subs", **meta, when_ended="restart")
    contracts.succeeds()
    ann = next(c["id"] for c in contracts.objects("customer") if c["email"].startswith("ann"))
    contracts.hand.v1.customers.delete(ann)
    people = [("ann", "ann.new@example.com"), ("bo", "bo@example.com")]
    contracts.rows("people", *people, columns="id text, email text")
    contracts.fails()

    recreate(contracts)
    contracts.succeeds()

    living = {c["id"] for c in contracts.living("customer")}
    assert {s["customer"] for s in contracts.living("subscription")} == living
    assert len(contracts.objects("subscription")) == 3
    contracts.check_settled()


@pytest.fixture
def metered(contracts):
    """A meter, its price, and a subscription that bills by it; `leave` takes rows out of their models."""
    contracts.rows("meters", ("api",), columns="id text")
    contracts.sync(
        "meters",
        resource="billing.meter",
        fields={"event_name": "id", "display_name": "id", "default_aggregation.formula": {"value": "sum"}},
        on_removed="deactivate",
    )
    product = contracts.objects("product")[0]["id"]
    contracts.rows("rates", ("calls", "api", product), columns="id text, meter text, product text")
    contracts.sync(
        "rates",
        resource="price",
        fields={
            "product": "product",
            "currency": {"value": "usd"},
            "unit_amount": {"value": 3},
            "recurring.interval": {"value": "month"},
            "recurring.usage_type": {"value": "metered"},
            "recurring.meter": {"sync": "meters", "key": "meter"},
        },
        on_removed="archive",
    )
    contracts.rows("subs", ("s-ann", "ann", "calls"), columns="id text, person text, rate text")
    meta = contracts.business.models["subs"]["meta"]["stripe_sync"]
    fields = {**meta["fields"], "items": [{"price": {"sync": "rates", "key": "rate"}}]}
    contracts.business.sync("subs", **{**meta, "fields": fields})

    # A model without a row removes nothing, so another row of each stays.
    other = {"meters": "('gb')", "rates": f"('gb', 'gb', '{product}')", "subs": "('s-bo', 'bo', 'gb')"}

    def leave(*models):
        for model in models:
            contracts.business.table(model, f"SELECT * FROM {model} WHERE id IN ('gb', 's-bo')")

    for model, row in other.items():
        contracts.business.table(model, f"SELECT * FROM {model} UNION ALL VALUES {row}")
    contracts.leave = leave
    return contracts


def meters_of(shop):
    return {meter["event_name"]: meter["status"] for meter in shop.objects("billing.meter")}


@pytest.mark.parametrize("leaving", [("meters", "rates", "subs"), ("meters", "subs")])
def test_a_meter_counts_until_the_last_subscription_that_it_bills_has_ended(metered, leaving):
    end_with(metered, "cancel_at_period_end")
    metered.succeeds()
    metered.leave(*leaving)

    ran = metered.run()

    assert "warning[dependent-ends-later]" in ran.text
    assert meters_of(metered) == {"api": "active", "gb": "active"}
    metered.writes()
    again = metered.run()
    assert ("dependent-ends-later" in again.text, metered.writes()) == (True, [])

    ending = next(s["id"] for s in metered.objects("subscription") if s["cancel_at_period_end"])
    metered.hand.v1.subscriptions.cancel(ending)
    metered.run()

    assert meters_of(metered) == {"api": "inactive", "gb": "active"}


def test_a_meter_and_what_it_bills_end_together_in_this_order(metered):
    end_with(metered, "cancel")
    metered.succeeds()
    metered.leave("meters", "rates", "subs")
    metered.writes()

    metered.succeeds()

    calls = [line for line in metered.writes() if line.startswith("DELETE") or line.endswith("/deactivate")]
    assert [line.split("/")[2] for line in calls] == ["subscriptions", "billing"]
    metered.check_settled()


def test_a_meter_that_a_subscription_still_needs_is_not_deactivated(metered):
    metered.succeeds()
    metered.leave("meters", "rates", "subs")

    ran = metered.fails()

    assert "error[dependent-stays]" in ran.text
    assert meters_of(metered) == {"api": "active", "gb": "active"}
    for subscription in metered.living("subscription"):
        metered.hand.v1.subscriptions.cancel(subscription["id"])
    metered.run()
    assert meters_of(metered)["api"] == "inactive"


@pytest.mark.parametrize("ends", [True, False])
def test_a_meter_waits_for_a_subscription_that_no_sync_writes(metered, ends):
    metered.succeeds()
    metered.leave("meters")
    (api,) = [m["id"] for m in metered.objects("billing.meter") if m["event_name"] == "api"]
    rate = next(p["id"] for p in metered.objects("price") if (p["recurring"] or {}).get("meter") == api)
    for subscription in metered.living("subscription"):
        metered.hand.v1.subscriptions.cancel(subscription["id"])
    foreign = metered.hand.v1.subscriptions.create(
        {
            "customer": metered.objects("customer")[0]["id"],
            "items": [{"price": rate}],
            "collection_method": "send_invoice",
            "days_until_due": 9,
            "cancel_at_period_end": ends,
        }
    )

    ran = metered.run()

    assert ("warning[dependent-ends-later]" if ends else "error[dependent-stays]") in ran.text
    assert f"{foreign.id}, which no sync writes, still uses this billing.meter" in ran.text
    assert meters_of(metered)["api"] == "active"


def test_a_meter_stays_active_if_stripe_cannot_be_asked_who_needs_it(metered):
    metered.succeeds()
    metered.leave("meters")
    metered.stripe.inject(Fault.forbidden(method="GET", path="^/v1/subscriptions$", count=None))

    ran = metered.fails()

    assert "error[lookup-failed]" in ran.text
    assert meters_of(metered) == {"api": "active", "gb": "active"}


# ── what ties objects together is looked at within `max_reads` ───────────────────────────────────────────────────────


def run_within_ever_more_reads(shop, is_harmed):
    """Run with each bound until one suffices; what each of them said. Nothing may be harmed on the way."""
    said = []
    for most in range(1, 12):
        shop.business.set(max_reads=most)
        planned = shop.run("plan")
        ran = shop.run()
        said.append(planned.text + ran.text)
        assert {planned.exit_code, ran.exit_code} <= {0, 1}, ran.text
        assert not is_harmed()
        if "max-reads" not in ran.text:
            return said
    raise AssertionError(said[-1])


def test_a_meter_stays_active_if_too_few_reads_are_left_to_see_who_needs_it(metered):
    end_with(metered, "cancel_at_period_end")
    metered.succeeds()
    metered.leave("meters", "rates", "subs")

    said = run_within_ever_more_reads(metered, lambda: meters_of(metered)["api"] != "active")

    needed = "the project's `max_reads` is used up before it is known which subscription this removal would affect"
    assert any(needed in text for text in said)
    assert "dependent-ends-later" in said[-1]


def test_an_item_stays_if_too_few_reads_are_left_to_see_whether_its_subscription_ended(with_items):
    end_with(with_items, "cancel_at_period_end")
    with_items.succeeds()
    with_items.leave("bo")
    with_items.run()

    said = run_within_ever_more_reads(with_items, lambda: len(with_items.objects("subscription_item")) != 4)

    assert any("is used up before it is known which subscription" in text for text in said)
    assert "dependent-ends-later" in said[-1]
