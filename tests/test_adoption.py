"""The first sync of a populated account: every row finds its object or creates one, without duplicates or guesses."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import pytest
import stripe
from fault_clock import FaultClock

from dbt_stripe_sync import api
from dbt_stripe_sync.sandbox import Fault, FaultKind, Sandbox

FIELDS = {"email": "email", "name": "name", "metadata.crm_id": "id"}


def run(business):
    ran = business.cli()
    assert ran.exit_code == 0, ran.out + ran.err
    return ran


def by_hand(business):
    return stripe.StripeClient(Sandbox.api_key, base_addresses={"api": business.stripe.url}).v1


def person(business, email, name=None, **metadata):
    named = {"name": name} if name else {}
    return by_hand(business).customers.create({"email": email, "metadata": metadata, **named})["id"]


def people(business, *rows, fields=FIELDS, **meta):
    business.rows("people", *rows, columns="id text, email text, name text")
    business.sync("people", resource="customer", key="id", fields=fields, **meta)


def changes(business):
    return {change["key"]: change for change in business.plan()}


@pytest.mark.parametrize(
    ("match", "found_by"),
    [(["metadata.crm_id"], "metadata.crm_id"), (["email"], "email"), (["metadata.crm_id", "email"], None)],
)
@pytest.mark.telling
def test_a_populated_account_gets_no_duplicate(business, match, found_by):
    ids = {f"c{n}": person(business, f"p{n}@example.com", f"P{n}", crm_id=f"c{n}") for n in range(120)}
    people(business, *[(f"c{n}", f"p{n}@example.com", f"P{n}") for n in range(130)], match=match)

    planned = changes(business)
    run(business)
    business.write_calls()
    run(business)

    assert {key: change["stripe_id"] for key, change in planned.items() if change["action"] == "adopt"} == ids
    assert {change["found_by"] for change in planned.values() if change["action"] == "adopt"} == {found_by or match[0]}
    assert sum(change["action"] == "create" for change in planned.values()) == 10
    assert business.stripe.count("customer") == 130
    assert business.write_calls() == []


def test_the_first_match_that_finds_something_wins(business):
    by_metadata = person(business, "old@example.com", crm_id="c1")
    person(business, "a@example.com")
    by_email = person(business, "b@example.com")
    people(business, ("c1", "a@example.com", "A"), ("c2", "b@example.com", "B"), match=["metadata.crm_id", "email"])

    planned = changes(business)

    found = {key: (change["stripe_id"], change["found_by"]) for key, change in planned.items()}
    assert found == {"c1": (by_metadata, "metadata.crm_id"), "c2": (by_email, "email")}


def test_the_plan_says_what_was_found_and_by_what(business):
    found = person(business, "a@example.com", "A")
    people(business, ("c1", "a@example.com", "A"), ("c2", "b@example.com", "B"), match=["email"])

    text = business.cli("plan").text

    assert f"~ c1 {found} found by email" in text
    assert "compared with all existing objects (1 page listed)" in text


def test_only_what_differs_is_sent_to_an_adopted_object(business):
    found = person(business, "a@example.com", "Old name", crm_id="c1", theirs="stays")
    by_hand(business).customers.update(found, {"phone": "123", "address": {"city": "Bern", "country": "CH"}})
    people(business, ("c1", "a@example.com", "New name"), match=["email"])

    run(business)

    (line,) = [line for line in business.stripe.writes() if line.path == f"/v1/customers/{found}"][1:]
    assert line.params == {"name": "New name", "metadata": {"dbt_stripe_sync": "shop/people/c1"}}
    (customer,) = business.stripe.objects("customer")
    assert customer["metadata"] == {"crm_id": "c1", "theirs": "stays", "dbt_stripe_sync": "shop/people/c1"}
    assert (customer["phone"], customer["address"]["city"]) == ("123", "Bern")


def test_a_null_clears_only_what_a_sync_has_set(business):
    person(business, "a@example.com", "Theirs")
    people(business, ("c1", "a@example.com", None), match=["email"])

    run(business)

    assert business.stripe.objects("customer")[0]["name"] == "Theirs"


@pytest.mark.parametrize("recover", [("state", "rebuild"), ("parse",)], ids=["read back", "found by its tag"])
@pytest.mark.parametrize(("nulls", "left"), [("default", "Ann"), ("clear", None)])
def test_without_a_record_a_null_clears_what_its_object_has_only_if_the_sync_says_so(business, recover, nulls, left):
    fields = {"name": {"column": "name", "nulls": nulls}, "address.city": {"column": "name", "nulls": nulls}}
    people(business, ("c1", "a@example.com", "Ann"), fields=fields)
    run(business)
    shutil.rmtree(business.state.parent)
    assert business.cli(*recover).exit_code == 0
    people(business, ("c1", "a@example.com", None), fields=fields)

    run(business)
    run(business)

    (customer,) = business.stripe.objects("customer")
    assert (customer["name"], (customer["address"] or {}).get("city")) == (left, left)


def test_an_ambiguous_match_is_rejected_alone_with_the_ids(business):
    two = [person(business, "a@example.com"), person(business, "a@example.com")]
    people(business, ("c1", "a@example.com", "A"), ("c2", "b@example.com", "B"), match=["email"])

    ran = business.cli()

    assert ran.exit_code == 1
    assert "2 existing objects match by `email`" in ran.text
    assert all(found in ran.text for found in two)
    assert "on_ambiguous: newest" in ran.text
    assert business.stripe.count("customer") == 3


@pytest.mark.telling
def test_two_rows_do_not_share_an_object(business):
    found = person(business, "a@example.com")
    people(business, ("c1", "a@example.com", "A"), ("c2", "a@example.com", "B"), match=["email"])

    ran = business.cli()

    assert ran.exit_code == 1
    assert f"{found}, found by `email`, already belongs to row [c1]" in ran.text
    assert business.stripe.count("customer") == 1


def test_two_syncs_do_not_share_an_object(business):
    found = person(business, "a@example.com")
    people(business, ("c1", "a@example.com", "A"), match=["email"])
    business.rows("leads", ("l1", "a@example.com"), columns="id text, email text")
    business.sync("leads", resource="customer", key="id", fields={"email": "email"}, match=["email"])

    first = business.cli()
    second = business.cli()

    for ran in (first, second):
        assert ran.exit_code == 1
        assert f"{found}, found by `email`, already belongs to row [" in ran.text
    assert business.stripe.count("customer") == 1


@pytest.mark.telling
@pytest.mark.parametrize("taken", ["a@example.com", "A@Example.com"])
def test_a_new_row_with_the_address_that_another_row_gives_up_gets_an_object_of_its_own(business, taken):
    people(business, ("c5", "a@example.com", "A"), match=["email"])
    run(business)
    (first,) = business.stripe.objects("customer")
    people(business, ("c5", "new@example.com", "A"), ("c1", taken, "B"), match=["email"])

    run(business)

    emails = {customer["id"]: customer["email"] for customer in business.stripe.objects("customer")}
    assert emails.pop(first["id"]) == "new@example.com"
    assert list(emails.values()) == [taken]


def test_a_new_row_adopts_an_object_beside_that_of_a_row_that_gives_up_its_address(business):
    people(business, ("c1", "a@example.com", "A"), match=["email"])
    run(business)
    found = person(business, "a@example.com")
    people(business, ("c1", "new@example.com", "A"), ("c2", "a@example.com", "B"), match=["email"])

    assert (changes(business)["c2"]["action"], changes(business)["c2"]["stripe_id"]) == ("adopt", found)


def test_a_new_row_may_match_by_another_field_once_a_value_is_given_up(business):
    """The object is found by the first field, so whether the second one finds another object isn't known yet."""
    asked = {"fields": {**FIELDS, "metadata.team": "name"}, "match": ["metadata.team", "email"]}
    people(business, ("c1", "a@example.com", "A"), **asked)
    run(business)
    found = person(business, "b@example.com")
    people(business, ("c1", "a@example.com", "New"), ("c2", "b@example.com", "A"), **asked)

    first = business.cli()
    second = business.cli()

    assert "already belongs to row [c1]" in first.text
    assert second.exit_code == 0, second.text
    assert {customer["id"]: customer["name"] for customer in business.stripe.objects("customer")}[found] == "A"
    assert business.stripe.count("customer") == 2


def test_a_row_whose_address_becomes_null_gives_nothing_up(business):
    people(business, ("c1", "a@example.com", "A"), match=["email"])
    run(business)
    people(business, ("c1", None, "A"), ("c2", "a@example.com", "B"), match=["email"])

    ran = business.cli()

    assert "already belongs to row [c1]" in ran.text
    assert business.stripe.count("customer") == 1


def test_a_new_row_finds_its_object_in_a_later_sync_too(business):
    people(business, ("c1", "a@example.com", "A"), match=["email"])
    run(business)
    found = person(business, "b@example.com")
    people(business, ("c1", "a@example.com", "A"), ("c2", "b@example.com", "B"), match=["email"])

    run(business)

    assert {customer["id"]: customer["name"] for customer in business.stripe.objects("customer")}[found] == "B"
    assert business.stripe.count("customer") == 2


def test_a_stripe_id_in_the_model_is_the_best_match(business):
    one, two = person(business, "a@example.com"), person(business, "a@example.com")
    business.rows("people", (one, "Ann"), (two, "Ben"), ("cus_nobody", "Cem"), columns="id text, name text")
    business.sync("people", resource="customer", key="id", mode="update", match=["id"], fields={"name": "name"})

    ran = business.cli()

    assert "no object of this row was found, and the sync's mode is `update`" in ran.text
    assert {c["id"]: c["name"] for c in business.stripe.objects("customer")} == {one: "Ann", two: "Ben"}


def test_nothing_is_created_if_a_list_fails(business):
    person(business, "a@example.com")
    people(business, ("c1", "a@example.com", "A"), match=["email"])
    business.stripe.inject(Fault(kind=FaultKind.STATUS, method="GET", path="/v1/customers", status=400, count=1))

    ran = business.cli()
    made = business.stripe.count("customer")
    run(business)

    assert ran.exit_code == 2
    assert made == business.stripe.count("customer") == 1


def test_a_price_with_another_amount_is_replaced_by_one_with_its_lookup_key(business):
    client = by_hand(business)
    product = client.products.create({"name": "Desk"})["id"]
    same, other = (
        client.prices.create({"product": product, "currency": "usd", "unit_amount": amount, "lookup_key": name})["id"]
        for name, amount in (("solo", 500), ("team", 900))
    )
    business.rows(
        "prices", ("solo", product, 500), ("team", product, 1000), columns="code text, product text, cents int"
    )
    business.sync(
        "prices",
        resource="price",
        key="code",
        match=["lookup_key"],
        fields={
            "product": "product",
            "currency": {"value": "usd"},
            "unit_amount": "cents",
            "lookup_key": "code",
            "recurring": {"interval": {"value": "month"}},
        },
    )
    business.models["prices"]["meta"]["stripe_sync"]["fields"].pop("recurring")
    business.write_manifest()

    planned = business.plan()
    run(business)

    assert [(change["key"], change["action"]) for change in planned] == [
        ("solo", "adopt"),
        ("team", "replace"),
        ("team", "archive"),
    ]
    assert "found by `lookup_key`" in planned[1]["reason"]
    prices = {price["id"]: price for price in business.stripe.objects("price")}
    assert (prices[same]["active"], prices[other]["active"]) == (True, False)
    (new,) = [price for price in prices.values() if price["lookup_key"] == "team"]
    assert (new["unit_amount"], new["active"]) == (1000, True)


@pytest.mark.parametrize(
    ("kind", "service", "made", "fields"),
    [
        (
            "coupon",
            "coupons",
            {"id": "k", "percent_off": 12.5, "duration": "once"},
            {"percent_off": "n", "duration": {"value": "once"}},
        ),
        (
            "coupon",
            "coupons",
            {"id": "k", "amount_off": 12, "currency": "usd", "duration": "once"},
            {"amount_off": "whole", "currency": {"value": "USD"}, "duration": {"value": "once"}},
        ),
        (
            "tax_rate",
            "tax_rates",
            {"display_name": "k", "percentage": 12.5, "inclusive": False},
            {"percentage": "n", "inclusive": {"value": False}},
        ),
        (
            "product",
            "products",
            {"id": "k", "name": "N", "tax_code": "txcd_10000000", "marketing_features": [{"name": "a"}]},
            {
                "name": {"value": "N"},
                "tax_code": {"value": "txcd_10000000"},
                "marketing_features": [{"name": {"value": "a"}}],
            },
        ),
    ],
)
def test_an_object_without_differences_only_gets_the_tag(business, kind, service, made, fields):
    getattr(by_hand(business), service).create(made)
    by = "id" if "id" in made else "display_name"
    business.table("things", "SELECT 'k' AS id, 12.50::decimal(10, 2) AS n, 12 AS whole")
    business.sync("things", resource=kind, key="id", match=[by], fields={by: "id", **fields})

    (change,) = business.plan()
    run(business)

    assert (change["action"], change.get("changed", [])) == ("adopt", [])
    assert business.stripe.count(kind) == 1


def test_an_immutable_that_differs_rejects_the_row_and_leaves_the_object(business):
    by_hand(business).coupons.create({"id": "spring", "percent_off": 20, "duration": "once"})
    business.table("codes", "SELECT 'spring' AS id, 30 AS off")
    fields = {"id": "id", "percent_off": "off", "duration": {"value": "once"}}
    business.sync("codes", resource="coupon", key="id", match=["id"], fields=fields)

    ran = business.cli()

    assert ran.exit_code == 1
    assert "`percent_off` can't be changed on an existing coupon" in ran.text
    assert business.stripe.objects("coupon")[0]["percent_off"] == 20


def test_an_active_object_is_adopted_before_an_archived_one(business):
    client = by_hand(business)
    old, new = (client.products.create({"name": "Desk", "metadata": {"sku": "d1"}})["id"] for _ in range(2))
    client.products.update(old, {"active": False})
    business.table("plans", "SELECT 'd1' AS sku, 'Desk' AS name")
    business.sync("plans", resource="product", key="sku", match=["metadata.sku"], fields={"name": "name"})

    (change,) = business.plan()

    assert (change["action"], change["stripe_id"]) == ("adopt", new)


def test_an_adopted_archived_object_becomes_active_again(business):
    client = by_hand(business)
    old = client.products.create({"name": "Desk", "active": False, "metadata": {"sku": "d1"}})["id"]
    business.table("plans", "SELECT 'd1' AS sku, 'Desk' AS name")
    business.sync(
        "plans", resource="product", key="sku", match=["metadata.sku"], fields={"name": "name"}, on_removed="archive"
    )

    run(business)

    assert [(product["id"], product["active"]) for product in business.stripe.objects("product")] == [(old, True)]


def test_a_subscription_is_adopted_with_its_items(business):
    client = by_hand(business)
    customer = person(business, "a@example.com")
    product = client.products.create({"name": "Desk"})["id"]
    price = client.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 500, "recurring": {"interval": "month"}}
    )["id"]
    terms = {"collection_method": "send_invoice", "days_until_due": 30}
    made = client.subscriptions.create(
        {"customer": customer, "items": [{"price": price, "quantity": 2}], "metadata": {"sub_id": "s1"}, **terms}
    )
    business.rows("subs", ("s1", customer, price, 3), columns="sub_id text, who text, price text, seats int")
    business.sync(
        "subs",
        resource="subscription",
        key="sub_id",
        match=["metadata.sub_id"],
        fields={
            "customer": "who",
            "items": [{"price": "price", "quantity": "seats"}],
            **{name: {"value": value} for name, value in terms.items()},
        },
    )

    run(business)

    (subscription,) = business.stripe.objects("subscription")
    assert subscription["id"] == made["id"]
    (item,) = business.stripe.objects("subscription_item")
    assert (item["quantity"], item["price"]["id"] if isinstance(item["price"], dict) else item["price"]) == (3, price)


# ── an address in another case ───────────────────────────────────────────────────────────────────────────────────────


def test_an_address_that_differs_only_in_case_creates_no_second_customer(business):
    theirs = [person(business, "Ann@Example.com"), person(business, "bob@example.com")]
    people(business, ("c1", "ann@example.com", "A"), ("c2", "BOB@example.com", "B"), match=["email"])

    ran = business.cli()

    assert ran.exit_code == 1
    assert "[ambiguous-match]" in ran.text
    assert theirs[0] in ran.text  # rows with one problem are reported together, with the first one's ids
    assert "match_email: ignore_case" in ran.text
    assert business.stripe.count("customer") == 2


@pytest.mark.parametrize(
    ("theirs", "ours", "is_near"),
    [
        ("ÉVA@EXÄMPLE.com", "éva@exämple.com", True),
        # A letter with its accent apart looks the same.
        ("e\u0301va@example.com", "éva@example.com", True),
        ("strasse@example.com", "straße@example.com", False),
    ],
)
@pytest.mark.parametrize("match_email", ["exact", "ignore_case"])
def test_addresses_of_any_alphabet_are_compared_by_case_alone(business, theirs, ours, is_near, match_email):
    person(business, theirs)
    people(business, ("c1", ours, "A"), match=["email"], match_email=match_email)

    ran = business.cli()

    assert ("[ambiguous-match]" in ran.text) is (is_near and match_email == "exact")
    assert business.stripe.count("customer") == (1 if is_near else 2)


def test_an_exact_address_wins_over_one_in_another_case(business):
    person(business, "ANN@example.com")
    exact = person(business, "ann@example.com")
    people(business, ("c1", "ann@example.com", "A"), match=["email"])

    run(business)

    assert {c["id"]: c["name"] for c in business.stripe.objects("customer")}[exact] == "A"
    assert business.stripe.count("customer") == 2


def test_case_can_be_ignored_in_a_later_sync_that_searches_for_addresses(business):
    people(business, ("c1", "first@example.com", "A"), match=["email"], match_email="ignore_case")
    run(business)
    theirs = person(business, "Ann@Example.com")
    for number in range(250):
        person(business, f"other{number}@example.com")
    rows = [("c1", "first@example.com", "A"), ("c2", "ann@example.com", "Ann")]
    people(business, *rows, match=["email"], match_email="ignore_case")

    run(business)

    found = {c["id"]: (c["name"], c["email"]) for c in business.stripe.objects("customer")}[theirs]
    assert found == ("Ann", "ann@example.com")
    assert business.stripe.count("customer") == 252


# ── how often Stripe is read ─────────────────────────────────────────────────────────────────────────────────────────


def planned(business):
    return json.loads(business.cli("plan", "--format", "json").out)


def test_a_plan_says_how_many_reads_it_took(business):
    for number in range(120):
        person(business, f"p{number}@example.com")
    people(business, ("c1", "a@example.com", "A"), match=["email"])
    business.stripe.reset_requests()

    (sync,) = planned(business)["syncs"]

    asked = [line for line in business.stripe.requests() if line.method == "GET" and line.path == "/v1/customers"]
    assert 2 <= len(asked) <= sync["reads"]


@pytest.mark.parametrize("of_project", [False, True])
def test_beyond_max_reads_nothing_of_the_sync_is_sent_and_others_continue(business, of_project):
    for number in range(250):
        person(business, f"p{number}@example.com")
    if of_project:
        business.set(max_reads=2)
    people(
        business, ("c1", "a@example.com", "A"), match=["email"], **({} if of_project else {"limits": {"max_reads": 2}})
    )
    business.rows("goods", ("g1", "Goods"), columns="id text, name text")
    business.sync("goods", resource="product", key="id", fields={"id": "id", "name": "name"}, mode="insert")

    ran = business.cli()

    assert ran.exit_code == 1
    assert "`people` needs at least " in ran.text
    assert "max_reads` " in ran.text
    assert ("hint: raise `max_reads` in vars.stripe_sync" if of_project else "hint: raise the limit") in ran.text
    assert business.stripe.count("customer") == 250
    assert of_project or business.stripe.count("product") == 1


def test_a_sufficient_max_reads_withholds_nothing(business):
    people(business, ("c1", "a@example.com", "A"), match=["email"], limits={"max_reads": 50})

    run(business)

    assert business.stripe.count("customer") == 1


@pytest.fixture
def clock(monkeypatch):
    """The clock of every run in this process."""
    clock = FaultClock()
    monkeypatch.setattr(api, "SystemClock", lambda: clock)
    return clock


def days_pass(business, clock, days=2):
    clock.move(timedelta(days=days))
    business.stripe.advance(days * 86_400)


def test_new_rows_of_a_large_account_are_looked_up_and_not_found_by_listing_it_all(business, clock):
    for number in range(750):
        person(business, f"p{number}@example.com")
    theirs = person(business, "a@example.com")
    # What is about as old as the first record is listed to see whether the state is an old copy.
    days_pass(business, clock)
    people(business, ("c0", "p0@example.com", "P"), match=["email"])
    run(business)
    days_pass(business, clock)
    people(business, ("c0", "p0@example.com", "P"), ("c1", "a@example.com", "A"), match=["email"])
    business.stripe.reset_requests()

    run(business)

    lists = [line.params for line in business.stripe.requests() if line.path == "/v1/customers"]
    assert len(lists) <= 3  # all of them are on 8 pages
    assert "a@example.com" in [params.get("email") for params in lists]
    mine = [c["id"] for c in business.stripe.objects("customer") if c["metadata"]]
    assert theirs in mine
    assert len(mine) == 2


LATE = 30 * 86_400


@pytest.fixture
def lagging(business, clock):
    """A large account whose search is a month behind, and a sync of one row of which the state is lost."""
    with Sandbox(port=0, search_delay=LATE) as stripe:
        business.stripe = stripe
        people(business, ("c1", "a@example.com", "A"))
        run(business)
        days_pass(business, clock)
        for number in range(350):
            person(business, f"p{number}@example.com")
        days_pass(business, clock)
        business.write_calls()
        yield business


def test_objects_of_a_lost_state_are_found_however_far_search_lags(lagging):
    lagging.state.unlink()

    ran = run(lagging)

    assert lagging.write_calls() == []
    assert "compared with all existing objects (4 pages listed)" in ran.out
    assert lagging.stripe.count("customer") == 351


def test_a_forgotten_row_finds_its_object_in_one_read_however_far_search_lags(lagging):
    people(lagging, ("c1", "a@example.com", "A"), ("c2", "b@example.com", "B"))
    run(lagging)
    assert lagging.cli("state", "forget", "people", "c1").exit_code == 0
    lagging.write_calls()

    run(lagging)

    reads = [line.path for line in lagging.stripe.requests() if line.method == "GET" and "/customers" in line.path]
    assert lagging.write_calls() == []
    assert len([path for path in reads if path.startswith("/v1/customers/cus_")]) == 1
    assert "/v1/customers/search" not in reads
    assert lagging.stripe.count("customer") == 352


def test_a_forgotten_sync_finds_its_objects_by_their_ids(lagging):
    assert lagging.cli("state", "forget", "people", "--all").exit_code == 0

    run(lagging)

    assert lagging.write_calls() == []
    assert lagging.stripe.count("customer") == 351


@pytest.mark.parametrize("how", ["deleted", "without its tag"])
def test_a_forgotten_row_whose_object_now_belongs_to_another_gets_a_new_one(lagging, how):
    people(lagging, ("c1", "a@example.com", "A"), ("c2", "b@example.com", "B"))
    run(lagging)
    (mine,) = [c["id"] for c in lagging.stripe.objects("customer") if c["email"] == "a@example.com"]
    assert lagging.cli("state", "forget", "people", "c1").exit_code == 0
    if how == "deleted":
        by_hand(lagging).customers.delete(mine)
    else:
        by_hand(lagging).customers.update(mine, {"metadata": {"dbt_stripe_sync": ""}})
    lagging.write_calls()

    run(lagging)

    assert lagging.write_calls() == ["POST /v1/customers"]


def test_a_forgotten_row_is_not_created_again_if_stripe_cannot_be_searched(lagging):
    people(lagging, ("c1", "a@example.com", "A"), ("c2", "b@example.com", "B"))
    run(lagging)
    assert lagging.cli("state", "forget", "people", "c1").exit_code == 0
    lagging.stripe.inject(Fault.status_code(503, method="GET", path="^/v1/customers/cus_", count=None))
    lagging.write_calls()

    ran = lagging.cli()

    assert ran.exit_code == 1
    assert "error[lookup-failed]" in ran.text
    assert lagging.write_calls() == []


def test_without_access_to_search_everything_is_listed(business, clock):
    theirs = person(business, "z@example.com", crm_id="c1")
    for number in range(350):
        person(business, f"p{number}@example.com")
    days_pass(business, clock)
    business.stripe.inject(Fault.forbidden(method="GET", path="^/v1/customers/search$", count=None))
    people(business, ("c1", "a@example.com", "A"), match=["metadata.crm_id"])

    run(business)

    assert business.stripe.count("customer") == 351
    (mine,) = [c for c in business.stripe.objects("customer") if "dbt_stripe_sync" in c["metadata"]]
    assert mine["id"] == theirs


def test_a_run_says_what_an_adoption_will_read_before_it_reads(business):
    people(business, *((f"c{n}", f"p{n}@example.com", "P") for n in range(150)), match=["email"])

    ran = run(business)

    assert "looking for 150 rows of people in Stripe: a read for each 100 objects of the account" in ran.err
    assert ran.err.index("looking for 150 rows") < ran.err.index("people: 150 rows")


def test_finalization_respects_max_reads(business):
    customer = person(business, "a@example.com")
    rows = [(f"i{n}", customer) for n in range(5)]
    business.rows("bills", *rows, columns="id text, customer text")
    fields = {"customer": "customer", "metadata.note": "id"}
    business.sync("bills", resource="invoice", key="id", fields=fields)
    run(business)
    business.sync(
        "bills", resource="invoice", key="id", fields=fields, options={"finalize": True}, limits={"max_reads": 3}
    )

    ran = business.cli()

    assert ran.exit_code == 1
    assert (
        "error[max-reads]: `bills` needs at least 4 reads of Stripe, and `limits.max_reads` of `bills` is 3" in ran.text
    )
    assert {invoice["status"] for invoice in business.stripe.objects("invoice")} == {"draft"}


# ── webhook endpoints ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_webhook_endpoints_secret_is_never_stored(business):
    business.rows("hooks", ("h1", "https://example.com/hook"), columns="id text, url text")
    fields = {"url": "url", "enabled_events": {"value": ["invoice.paid"]}}
    business.sync("hooks", resource="webhook_endpoint", key="id", fields=fields)

    run(business)
    run(business)

    assert business.stripe.count("webhook_endpoint") == 1
    files = [path for path in business.root.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"whsec_" in path.read_bytes()]


def give_credits(business, *rows):
    """Entries in a customer's balance, which Stripe lists for one customer only."""
    business.rows("people", ("c1",), columns="id text")
    business.sync("people", resource="customer", key="id", fields={"name": "id"})
    business.rows("credits", *rows, columns="id text, person text, cents int")
    fields = {"customer": {"sync": "people", "key": "person"}, "amount": "cents", "currency": {"value": "usd"}}
    business.sync("credits", resource="customer.balance_transaction", key="id", fields=fields)


def balance(business):
    (customer,) = business.stripe.objects("customer")
    return customer["balance"]


def test_a_lost_state_finds_objects_that_stripe_lists_only_under_another_one(business):
    give_credits(business, ("1", "c1", -500), ("2", "c1", -500))
    assert business.cli().exit_code == 0
    business.state.unlink()

    ran = business.cli()

    assert ran.exit_code == 0, ran.text
    assert balance(business) == -1000


def test_a_forgotten_row_finds_its_object_under_another_one(business):
    give_credits(business, ("1", "c1", -500), ("2", "c1", -500))
    assert business.cli().exit_code == 0
    business.cli("state", "forget", "credits", "2")

    assert business.cli().exit_code == 0

    assert balance(business) == -1000


def test_nothing_is_created_under_an_object_whose_list_has_no_answer(business):
    give_credits(business, ("1", "c1", -500))
    assert business.cli().exit_code == 0
    business.state.unlink()
    business.stripe.inject(Fault.forbidden(method="GET", path="/balance_transactions", count=None))

    failed = business.cli()
    business.stripe.clear_faults()

    assert (failed.exit_code, balance(business)) == (1, -500), failed.text
    assert business.cli().exit_code == 0
    assert balance(business) == -500


# ── values that Stripe shows only if asked ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("recover", [("state", "rebuild"), ("parse",)], ids=["read back", "found by its tag"])
def test_without_a_record_a_quotes_line_items_are_read_and_compared(business, recover):
    price = by_hand(business).prices.create(
        {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Seat"}, "recurring": {"interval": "month"}}
    )["id"]
    columns = "id text, price text, seats int"
    business.rows("quotes", ("q1", price, 1), ("q2", price, 2), columns=columns)
    fields = {"line_items": [{"price": "price", "quantity": "seats"}]}
    business.sync("quotes", resource="quote", key="id", fields=fields)
    run(business)
    shutil.rmtree(business.state.parent)
    assert business.cli(*recover).exit_code == 0
    business.rows("quotes", ("q1", price, 1), ("q2", price, 5), columns=columns)
    business.write_calls()

    run(business)

    (changed,) = (quote["id"] for quote in business.stripe.objects("quote") if quote["amount_total"] == 2500)
    assert business.write_calls() == [f"POST /v1/quotes/{changed}"]
    run(business)
    assert business.write_calls() == []


@pytest.mark.parametrize("recover", [("state", "rebuild"), ("parse",)], ids=["read back", "found by its tag"])
def test_without_a_record_a_coupon_without_the_restriction_of_its_row_is_replaced(business, recover):
    product = by_hand(business).products.create({"name": "Desk"})["id"]
    columns = "id text, pct int, product text"
    fields = {"percent_off": "pct", "duration": {"value": "once"}, "applies_to.products": ["product"]}
    business.rows("coupons", ("a", 10, None), ("b", 20, product), columns=columns)
    business.sync("coupons", resource="coupon", key="id", fields=fields)
    run(business)
    shutil.rmtree(business.state.parent)
    assert business.cli(*recover).exit_code == 0
    business.rows("coupons", ("a", 10, product), ("b", 20, product), columns=columns)
    business.write_calls()

    run(business)

    writes = business.write_calls()
    assert [call.partition(" ")[0] for call in writes] == ["POST", "DELETE"]
    tags = sorted(coupon["metadata"]["dbt_stripe_sync"] for coupon in business.stripe.objects("coupon"))
    assert tags == ["shop/coupons/a", "shop/coupons/b"]
    run(business)
    assert business.write_calls() == []
