"""`store_values: false`: the state keeps salted hashes of what was sent, finds every change all the same, and no value
is left in any byte of its file once what was under way has ended.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time

import duckdb
import pytest
import stripe
from business import ROOT

from dbt_stripe_sync.sandbox import Fault, Sandbox

MARKS = ("marked", "Marked", "GOLDPLAN", "4242017", "Berlin")
PEOPLE = [
    (1, "marked.one@example.com", "Marked One", "Berlin", "GOLDPLAN", 4242017),
    (2, "marked.two@example.com", "Marked Two", "Berlin", "GOLDPLAN", 4242017),
    (3, "marked.three@example.com", "Marked Three", None, None, None),
]


@pytest.fixture(autouse=True)
def _no_salt(monkeypatch):
    monkeypatch.delenv("DBT_STRIPE_SYNC_SALT", raising=False)


@pytest.fixture
def people(business):
    """Customers whose values can be searched for, with values not stored."""
    business.set(store_values=False)
    put(business, *PEOPLE)
    business.sync(
        "people",
        resource="customer",
        key="id",
        on_removed="delete",
        fields={
            "email": "email",
            "name": "name",
            "address.city": "city",
            "metadata.plan": "plan",
            "metadata.seats": "seats",
        },
    )
    return business


def put(business, *rows):
    business.rows("people", *rows, columns="id int, email text, name text, city text, plan text, seats int")


def bytes_of(business):
    """Every file of the state's folder."""
    return {path.name: path.read_bytes() for path in business.state.parent.rglob("*") if path.is_file()}


def marks_in(business, marks=MARKS):
    return sorted(
        {(name, mark) for name, data in bytes_of(business).items() for mark in marks if mark.encode() in data}
    )


def run_successfully(business, *arguments):
    ran = business.cli(*arguments)
    assert ran.exit_code == 0, ran.text
    return business.write_calls()


def customer(business, email):
    return next(c for c in business.stripe.objects("customer") if c["email"] == email)


def test_the_state_contains_no_value_after_a_run(people):
    assert len(run_successfully(people)) == 3

    assert marks_in(people) == []
    assert people.state.stat().st_mode & 0o077 == 0


def test_the_same_search_finds_values_if_they_are_stored(people):
    people.set(store_values=True)

    run_successfully(people)

    assert {mark for _, mark in marks_in(people)} == set(MARKS)


def test_unchanged_rows_send_nothing(people):
    run_successfully(people)

    assert run_successfully(people) == []
    assert run_successfully(people, "run", "--full-refresh") == []


def test_only_the_changed_parameter_is_sent(people):
    run_successfully(people)
    (_, *row), *others = PEOPLE
    put(people, (1, row[0], "Marked Changed", *row[2:]), *others)

    (change,) = people.plan()
    calls = run_successfully(people)

    assert [field["path"] for field in change["fields"]] == ["name"]
    assert [set(call["params"]) for call in change["calls"]] == [{"name"}]
    assert len(calls) == 1
    assert customer(people, row[0])["name"] == "Marked Changed"
    assert marks_in(people, (*MARKS, "Changed")) == []


def test_the_plan_shows_the_new_value_and_says_that_the_old_one_is_not_stored(people):
    run_successfully(people)
    put(people, (1, "new@example.com", *PEOPLE[0][2:]), *PEOPLE[1:])

    text = people.cli("plan", "--show-values").out
    (change,) = people.plan()

    assert "(not stored) -> new@example.com" in " ".join(text.split())
    assert change["fields"] == [{"path": "email", "before": "(not stored)", "after": "new@example.com"}]


def test_a_null_clears_a_field_and_removes_a_metadata_key(people):
    run_successfully(people)
    put(people, (1, *PEOPLE[0][1:3], None, None, 4242018), *PEOPLE[1:])

    (change,) = people.plan()
    assert len(run_successfully(people)) == 1

    assert {field["path"] for field in change["fields"]} == {"address", "metadata.plan", "metadata.seats"}
    shown = customer(people, PEOPLE[0][1])
    assert not (shown["address"] or {}).get("city")
    assert "plan" not in shown["metadata"]
    assert shown["metadata"]["seats"] == "4242018"
    assert shown["name"] == "Marked One"


def test_an_ignored_null_is_cleared_once_the_mapping_says_so(people):
    fields = people.models["people"]["meta"]["stripe_sync"]["fields"]
    people.sync(
        "people", resource="customer", key="id", fields={**fields, "name": {"column": "name", "nulls": "ignore"}}
    )
    run_successfully(people)
    put(people, (1, PEOPLE[0][1], None, *PEOPLE[0][3:]), *PEOPLE[1:])
    assert run_successfully(people) == []

    people.sync("people", resource="customer", key="id", fields=fields)
    assert len(run_successfully(people)) == 1

    assert not customer(people, PEOPLE[0][1])["name"]
    assert marks_in(people) == []


def test_a_row_that_leaves_and_returns_is_synced(people):
    run_successfully(people)
    put(people, *PEOPLE[1:])
    assert [call.split()[0] for call in run_successfully(people, "run", "--yes")] == ["DELETE"]

    put(people, *PEOPLE)
    assert run_successfully(people) == ["POST /v1/customers"]
    assert marks_in(people) == []


@pytest.fixture
def shop(business):
    """Products, prices, and customers' subscriptions with items and tax ids."""
    business.set(store_values=False)
    business.rows("products", ("p1", "Marked Product"), columns="id text, name text")
    business.sync("products", resource="product", key="id", fields={"name": "name"}, on_removed="archive")
    business.rows(
        "prices",
        ("a", "p1", 4242017, "GOLDPLAN"),
        ("b", "p1", 900, "basic"),
        columns="id text, product text, cents int, look text",
    )
    business.sync(
        "prices",
        resource="price",
        key="id",
        on_removed="archive",
        fields={
            "product": {"sync": "products", "key": "product"},
            "currency": {"value": "eur"},
            "unit_amount": "cents",
            "lookup_key": "look",
            "recurring.interval": {"value": "month"},
        },
    )
    business.rows("people", (1, "marked@example.com"), columns="id int, email text")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    business.rows("tax_ids", (1, 1, "DE424201799"), columns="id int, person int, number text")
    business.sync(
        "tax_ids",
        resource="customer.tax_id",
        key="id",
        on_removed="delete",
        fields={"customer": {"sync": "people", "key": "person"}, "type": {"value": "eu_vat"}, "value": "number"},
    )
    business.rows("subscriptions", (1, 1), columns="id int, person int")
    items(business, (1, "a", 3), (1, "b", 7))
    business.sync(
        "subscriptions",
        resource="subscription",
        key="id",
        on_removed="cancel",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "items": {
                "model": "items",
                "on": "subscription",
                "fields": {"price": {"sync": "prices", "key": "price"}, "quantity": "seats", "metadata.note": "note"},
            },
        },
    )
    return business


def items(business, *rows):
    noted = [(*row, f"Marked {row[1]}") for row in rows]
    business.rows("items", *noted, columns="subscription int, price text, seats int, note text")


def test_references_items_and_nested_objects_are_synced(shop):
    assert len(run_successfully(shop)) == 6
    assert run_successfully(shop) == []
    assert marks_in(shop) == []


def test_an_immutable_change_replaces_the_price_and_carries_its_lookup_key_over(shop):
    run_successfully(shop)
    shop.rows(
        "prices",
        ("a", "p1", 4242018, "GOLDPLAN"),
        ("b", "p1", 900, "basic"),
        columns="id text, product text, cents int, look text",
    )

    run_successfully(shop)

    held = [price for price in shop.stripe.objects("price") if price["lookup_key"] == "GOLDPLAN"]
    assert [(price["unit_amount"], price["active"]) for price in held] == [(4242018, True)]
    (subscription,) = shop.stripe.objects("subscription")
    quantities = {item["price"]["unit_amount"]: item["quantity"] for item in subscription["items"]["data"]}
    assert quantities == {4242018: 3, 900: 7}
    assert run_successfully(shop) == []
    assert marks_in(shop, (*MARKS, "4242018")) == []


def test_items_keep_their_ids_and_removed_ones_are_deleted(shop):
    run_successfully(shop)
    (before,) = shop.stripe.objects("subscription")
    ids = {item["price"]["lookup_key"]: item["id"] for item in before["items"]["data"]}
    items(shop, (1, "a", 4))

    assert len(run_successfully(shop)) == 1

    (after,) = shop.stripe.objects("subscription")
    assert [(item["id"], item["quantity"]) for item in after["items"]["data"]] == [(ids["GOLDPLAN"], 4)]


def test_a_metadata_key_of_an_item_that_became_null_is_removed(shop):
    run_successfully(shop)
    shop.rows(
        "items",
        (1, "a", 3, None),
        (1, "b", 7, "Marked b"),
        columns="subscription int, price text, seats int, note text",
    )

    assert len(run_successfully(shop)) == 1

    (after,) = shop.stripe.objects("subscription")
    notes = {item["price"]["lookup_key"]: item["metadata"].get("note") for item in after["items"]["data"]}
    assert notes == {"GOLDPLAN": None, "basic": "Marked b"}


def test_an_archived_object_becomes_active_again(shop):
    run_successfully(shop)
    shop.rows("products", ("p2", "Another"), columns="id text, name text")
    run_successfully(shop, "run", "--select", "products")
    (left,) = [product for product in shop.stripe.objects("product") if product["name"] == "Marked Product"]
    assert left["active"] is False

    shop.rows("products", ("p1", "Marked Product"), ("p2", "Another"), columns="id text, name text")
    assert len(run_successfully(shop, "run", "--select", "products")) == 1

    (back,) = [product for product in shop.stripe.objects("product") if product["name"] == "Marked Product"]
    assert back["active"] is True


def test_a_nested_object_is_removed_under_its_customer(shop):
    run_successfully(shop)
    shop.rows("tax_ids", (2, 1, "DE123456789"), columns="id int, person int, number text")

    calls = run_successfully(shop)

    assert sorted(call.split()[0] for call in calls) == ["DELETE", "POST"]
    assert all("/v1/customers/cus_" in call for call in calls)


# ── on and off ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_turning_values_off_hashes_the_records_without_a_call(shop):
    shop.set(store_values=True)
    run_successfully(shop)
    assert marks_in(shop) != []

    shop.set(store_values=False)
    reads = len(shop.stripe.requests())
    assert run_successfully(shop) == []

    assert marks_in(shop) == []
    assert len(shop.stripe.requests()) <= reads
    assert run_successfully(shop) == []


def test_turning_values_off_also_hashes_records_of_removed_rows_and_syncs(people):
    people.set(store_values=True)
    people.sync("people", resource="customer", key="id", fields={"email": "email", "name": "name"})
    run_successfully(people)
    put(people, *PEOPLE[:2])
    del people.models["people"]["meta"]
    people.rows("others", (1, "other"), columns="id int, name text")
    people.sync("others", resource="product", key="id", fields={"name": "name"})

    people.set(store_values=False)
    run_successfully(people)

    assert marks_in(people) == []


def test_turning_values_on_stores_them_again_without_a_call(shop):
    run_successfully(shop)

    shop.set(store_values=True)
    assert run_successfully(shop) == []

    assert "email: marked@example.com" in shop.cli("state", "show", "people", "1").out
    assert run_successfully(shop) == []


def test_the_setting_of_a_sync_wins_over_the_project(people):
    people.rows("others", (1, "other@example.com"), columns="id int, email text")
    people.sync("others", resource="customer", key="id", fields={"email": "email"}, store_values=True)

    run_successfully(people)

    assert marks_in(people, (*MARKS, "other@example.com")) == [("dev.duckdb", "other@example.com")]


def test_the_state_says_that_values_are_not_stored(people):
    run_successfully(people)

    shown = people.cli("state", "show", "people", "1").out

    assert "email: (not stored)" in shown
    assert "city: (not stored)" in shown
    assert "no values are stored" in shown
    assert "cus_" in shown


def test_an_export_holds_no_values_and_can_be_imported(people, tmp_path):
    run_successfully(people)
    run_successfully(people, "state", "export", str(tmp_path / "export"))
    tables = {
        path.stem: duckdb.connect().sql(f"SELECT * FROM '{path}'").fetchall()
        for path in (tmp_path / "export").glob("*.parquet")
    }
    assert not [mark for mark in MARKS if mark in str(tables)]

    people.state.unlink()
    run_successfully(people, "state", "import", str(tmp_path / "export"))

    assert run_successfully(people) == []


def test_a_lost_state_is_rebuilt_without_values_and_the_next_run_sends_nothing(shop):
    run_successfully(shop)
    shop.state.unlink()

    shop.cli("state", "rebuild")
    assert marks_in(shop) == []

    shop.cli()
    assert [call for call in shop.write_calls() if "tax_ids" not in call] == []
    assert marks_in(shop) == []


def test_changes_since_a_rebuild_are_sent(people):
    run_successfully(people)
    people.state.unlink()
    people.cli("state", "rebuild")
    put(people, (1, PEOPLE[0][1], "Other", *PEOPLE[0][3:]), *PEOPLE[1:])

    assert [field["path"] for change in people.plan() for field in change["fields"]] == ["name"]
    assert len(run_successfully(people)) == 1


def test_decimals_of_a_rebuilt_object_are_compared_as_numbers(business):
    business.set(store_values=False)
    business.rows("taxes", (1, "8.50"), (2, "20"), columns="id int, rate text")
    fields = {"display_name": {"value": "VAT"}, "inclusive": {"value": True}, "percentage": "rate"}
    business.sync("taxes", resource="tax_rate", key="id", fields=fields)
    run_successfully(business)
    business.state.unlink()

    run_successfully(business, "state", "rebuild")

    assert run_successfully(business) == []


def test_adopting_an_object_stores_no_value(people):
    by_hand = stripe.StripeClient(Sandbox.api_key, base_addresses={"api": people.stripe.url}).v1
    by_hand.customers.create({"email": PEOPLE[0][1], "name": "Marked Before"})
    people.stripe.reset_requests()
    meta = people.models["people"]["meta"]["stripe_sync"]
    people.sync("people", **{**meta, "match": ["email"]})

    assert len(run_successfully(people)) == 3

    assert people.stripe.count("customer") == 3
    assert run_successfully(people) == []
    assert marks_in(people) == []


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_that_stripe_rejects_leaves_no_value(people):
    put(people, *PEOPLE, (4, "marked.four", "Marked Four", None, None, None))

    ran = people.cli()

    assert ran.exit_code == 1
    assert "email_invalid" in ran.text
    assert marks_in(people) == []


def reports(business):
    """The last run as JSON, as text, and as the page, without the moment at which the page was made."""
    document = json.loads(business.cli("report", "--json").out)
    document["metadata"].pop("generated_at")
    business.cli("report", "--html")
    page = (business.root / "target" / "stripe_sync_report.html").read_text()
    return (
        document,
        business.cli("report", "--text").out,
        re.sub(r"generated[^<]*<|\"generated_at\":\"[^\"]*\"", "", page),
    )


def test_reports_are_the_same_as_with_stored_values(people):
    people.set(store_values=True)
    put(people, *PEOPLE, (4, "marked.four", "Marked Four", "Berlin", "GOLDPLAN", 4242017))
    people.cli()
    before = reports(people)
    results = before[0]["results"]
    assert sorted(result["status"] for result in results) == ["rejected", *["succeeded"] * 3]

    people.set(store_values=False)
    people.cli("plan")

    assert marks_in(people) == []
    assert reports(people) == before


def killed(business, count):
    """A run that is killed once `count` calls are under way, none of them answered."""
    business.stripe.inject(Fault.latency(2.0, count=None, method="POST", path="^/v1/customers$"))
    root = str(business.root)
    options = ["--project-dir", root, "--profiles-dir", root, "--stripe-url", business.stripe.url]
    run = [sys.executable, "-m", "dbt_stripe_sync", "run", *options]
    process = subprocess.Popen(run, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while len(business.stripe.writes()) < count:
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    business.stripe.clear_faults()
    business.stripe.reset_requests()


def test_changes_in_flight_keep_their_exact_values_until_they_are_settled(people):
    killed(people, 3)
    assert marks_in(people) != []

    run_successfully(people)

    assert {shown["email"] for shown in people.stripe.objects("customer")} == {row[1] for row in PEOPLE}
    assert marks_in(people) == []
    assert run_successfully(people) == []
    assert people.stripe.count("customer") == 3


# ── the salt ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def salts(business):
    with duckdb.connect(str(business.state)) as state:
        own = state.execute("SELECT value FROM meta WHERE key = 'salt'").fetchall()
        return own, {salt for (salt,) in state.execute("SELECT DISTINCT salt FROM records").fetchall()}


def test_equal_values_of_two_rows_have_different_hashes_and_no_value_has_a_plain_digest(people):
    run_successfully(people)

    with duckdb.connect(str(people.state)) as state:
        kept = [json.loads(params) for (params,) in state.execute("SELECT params FROM records ORDER BY key").fetchall()]
        source = state.execute("SELECT source_hash FROM records ORDER BY key").fetchall()
    plans = [params["metadata"]["plan"] for params in kept[:2]]
    assert len(set(plans)) == len(plans) == 2
    assert set(kept[0]) == {"email", "name", "address", "metadata"}
    assert len(set(source)) == 3
    digests = [hashlib.new(name, PEOPLE[0][1].encode()).hexdigest() for name in ("md5", "sha1", "sha256", "blake2b")]
    assert marks_in(people, digests) == []


def test_two_states_have_two_salts(people):
    run_successfully(people)
    own, used = salts(people)
    people.state.unlink()

    run_successfully(people)

    assert len(own) == len(salts(people)[0]) == 1
    assert salts(people)[0] != own
    assert salts(people)[1] != used


SALT = "a salt that is long enough"


def test_a_salt_from_the_environment_replaces_the_stored_one_without_a_call(shop, monkeypatch):
    run_successfully(shop)
    (((own,),), used) = salts(shop)

    monkeypatch.setenv("DBT_STRIPE_SYNC_SALT", SALT)
    assert run_successfully(shop) == []
    assert run_successfully(shop) == []

    assert salts(shop)[0] == []
    assert len(salts(shop)[1]) == 1
    assert salts(shop)[1].isdisjoint(used)
    assert marks_in(shop, (*MARKS, own, SALT)) == []


def test_with_a_new_salt_rows_are_compared_with_stripe_and_only_differences_are_sent(shop, monkeypatch):
    monkeypatch.setenv("DBT_STRIPE_SYNC_SALT", SALT)
    run_successfully(shop)
    shop.rows("people", (1, "marked.changed@example.com"), columns="id int, email text")
    shop.rows(
        "prices",
        ("a", "p1", 4242018, "GOLDPLAN"),
        ("b", "p1", 900, "basic"),
        columns="id text, product text, cents int, look text",
    )

    monkeypatch.setenv("DBT_STRIPE_SYNC_SALT", f"another {SALT}")
    plan = " ".join(shop.cli("plan").text.split())
    changes = {(change["sync"], change["key"]) for change in shop.plan()}
    run_successfully(shop)

    assert "another salt" in plan
    assert changes == {("people", "1"), ("prices", "a"), ("subscriptions", "1")}
    assert [c["email"] for c in shop.stripe.objects("customer")] == ["marked.changed@example.com"]
    assert sorted(p["unit_amount"] for p in shop.stripe.objects("price") if p["active"]) == [900, 4242018]
    counts = {kind: shop.stripe.count(kind) for kind in ("product", "customer", "subscription", "customer.tax_id")}
    assert set(counts.values()) == {1}
    assert run_successfully(shop) == []


def test_with_a_new_salt_a_row_can_leave_and_return(people, monkeypatch):
    meta = people.models["people"]["meta"]["stripe_sync"]
    people.sync("people", **{**meta, "resource": "product", "on_removed": "archive", "fields": {"name": "name"}})
    monkeypatch.setenv("DBT_STRIPE_SYNC_SALT", SALT)
    run_successfully(people)

    monkeypatch.setenv("DBT_STRIPE_SYNC_SALT", f"another {SALT}")
    put(people, *PEOPLE[1:])
    assert len(run_successfully(people)) == 1
    put(people, *PEOPLE)
    assert len(run_successfully(people)) == 1

    assert [(p["name"], p["active"]) for p in people.stripe.objects("product") if p["name"] == "Marked One"] == [
        ("Marked One", True)
    ]
    assert people.stripe.count("product") == 3
    assert run_successfully(people) == []


def test_a_short_salt_is_rejected(people, monkeypatch):
    monkeypatch.setenv("DBT_STRIPE_SYNC_SALT", "pepper")

    ran = people.cli()

    assert ran.exit_code == 2
    assert "error[short-salt]: the salt in `DBT_STRIPE_SYNC_SALT` has fewer than 16 characters" in ran.text
    assert "pepper" not in ran.text


# ── what is sent beside what has changed ─────────────────────────────────────────────────────────────────────────


def test_an_unchanged_part_of_an_address_keeps_stripes_value(people):
    fields = people.models["people"]["meta"]["stripe_sync"]["fields"]
    street = {"address.line1": "street", "address.city": {"column": "city", "nulls": "ignore"}}
    columns = "id int, email text, name text, city text, plan text, seats int, street text"
    people.sync("people", resource="customer", key="id", fields={**fields, **street})
    people.rows("people", (*PEOPLE[0], "Main 1"), columns=columns)
    run_successfully(people)
    people.rows("people", (*PEOPLE[0][:3], None, *PEOPLE[0][4:], "Main 2"), columns=columns)

    assert len(run_successfully(people)) == 1

    address = customer(people, PEOPLE[0][1])["address"]
    assert (address["city"], address["line1"]) == ("Berlin", "Main 2")
    assert marks_in(people) == []
    assert run_successfully(people, "run", "--full-refresh") == []


@pytest.fixture
def desks(business):
    """A subscription that is never prorated, with values not stored."""
    business.set(store_values=False)
    business.rows("people", (1,), columns="id int")
    business.sync("people", resource="customer", key="id", fields={"metadata.id": "id"})
    business.rows("prices", ("desk", 1000), columns="code text, cents int")
    price = {"currency": {"value": "usd"}, "unit_amount": "cents", "recurring.interval": {"value": "month"}}
    business.sync("prices", resource="price", key="code", fields={**price, "product_data.name": {"value": "Desk"}})
    put_desks(business, (1, 2, "none"), (2, 1, "none"))
    business.sync(
        "desks",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "items": [{"price": {"sync": "prices", "key": "code"}, "quantity": "seats"}],
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "proration_behavior": {"column": "prorate", "nulls": "ignore"},
        },
    )
    run_successfully(business)
    business.stripe.reset_requests()
    return business


def put_desks(business, *rows):
    desks = [(id_, 1, "desk", seats, prorate) for id_, seats, prorate in rows]
    business.rows("desks", *desks, columns="id int, person int, code text, seats int, prorate text")


def test_proration_is_sent_again_though_only_its_hash_is_stored(desks):
    put_desks(desks, (1, 5, None), (2, 1, "none"))

    ran = desks.cli()

    assert ran.exit_code == 0, ran.text
    assert [call.params["proration_behavior"] for call in desks.stripe.writes()] == ["none"]


def test_a_new_name_is_written_to_the_object_of_a_row_that_left_the_model(desks):
    put_desks(desks, (2, 1, "none"))
    desks.cli("state", "mv", "desks", "seats")
    desks.sync("desks", **desks.models["desks"]["meta"]["stripe_sync"], name="seats")

    ran = desks.cli()

    assert ran.exit_code == 0, ran.text
    tags = sorted(found["metadata"]["dbt_stripe_sync"] for found in desks.stripe.objects("subscription"))
    assert tags == ["shop/seats/1", "shop/seats/2"]
