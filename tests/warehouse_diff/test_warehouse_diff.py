"""`diff: warehouse` on DuckDB and PostgreSQL: what is transferred, what is found, and when the copy isn't trusted."""

from __future__ import annotations

import json
import shutil

import pytest
from business import by_hand
from copied import marks, people, write

from dbt_stripe_sync.sandbox.faults import Fault, FaultKind

NO_CHANGE = {"customers": 1}
COPIES = "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'row_hashes%'"


def emails(shop):
    return sorted(customer["email"] for customer in shop.stripe.objects("customer"))


def test_only_changed_rows_are_transferred(customers, read):
    assert customers.cli().exit_code == 0
    assert read.take() == {"customers": 8}

    assert "unchanged" in customers.cli().out
    assert read.take() == NO_CHANGE

    write(customers, people(9, n7="new@example.com")[1:])
    customers.cli()
    # After a run without changes, a digest; then a new row, a changed one, a key that is gone, and the counts.
    assert read.take() == {"customers": 1 + 4}
    assert emails(customers) == sorted(email for _, email in people(9, n7="new@example.com")[1:])

    customers.cli()
    assert read.take() == NO_CHANGE


def test_a_digest_is_enough_until_something_changes_even_if_the_copy_is_damaged(customers, read):
    customers.cli()
    customers.cli()
    read.take()

    for table in (name for name, *_ in customers.ask(COPIES)):
        customers.do(f'DELETE FROM stripe_sync."{table}"')
    assert "8 unchanged" in customers.cli().out
    assert read.take() == NO_CHANGE

    write(customers, people(8, n3="p4@example.com", n4="p3@example.com"))
    assert "2 updated" in customers.cli().out
    assert "8 unchanged" in customers.cli().out


@pytest.mark.parametrize("shop", ["postgres"], indirect=True)
def test_postgres_has_statistics_of_a_copy_that_was_just_written(customers):
    """Without them, it may sort a model of millions of rows instead of joining the few that differ."""
    customers.cli()

    ((table, *_),) = customers.ask(COPIES)
    assert customers.ask(f"SELECT count(*) FROM pg_stats WHERE tablename = '{table}'") == [(2,)]


def test_a_plan_counts_all_rows_and_writes_nothing_to_the_warehouse(customers):
    customers.cli("plan")
    assert marks(customers) == []
    customers.cli()
    before = marks(customers)
    write(customers, people(8, n1="x@example.com"))

    plan = json.loads(customers.cli("plan", "--format", "json").out)

    (counts,) = plan["syncs"]
    assert (counts["rows"], counts["same"]) == (8, 7)
    assert marks(customers) == before


def test_rejected_rows_are_found_again(customers, read):
    """A row that is rejected, and one that Stripe refuses."""
    customers.cli()
    write(customers, people(8, n1="no address", n2="two@example.com"))
    assert customers.cli().exit_code == 1
    read.take()

    customers.cli()
    assert read.take() == {"customers": 2}

    customers.stripe.inject(Fault(kind=FaultKind.STATUS, method="POST", path="/v1/customers", status=402, count=1))
    write(customers, people(9, n1="one@example.com", n2="two@example.com"))
    customers.cli()
    customers.cli()
    assert emails(customers) == sorted(email for _, email in people(9, n1="one@example.com", n2="two@example.com"))
    customers.cli()
    read.take()
    customers.cli()
    assert read.take() == NO_CHANGE


def test_removals_are_limited_by_the_share_of_all_rows(customers, read):
    customers.cli()
    write(customers, people(8)[:3])
    read.take()

    held = customers.cli()

    assert "limits.max_removed" in held.text
    assert len(emails(customers)) == 8
    assert read.take() == {"customers": 6}
    write(customers, people(8)[:5])
    assert customers.cli().exit_code == 0
    assert len(emails(customers)) == 5
    write(customers, [])
    assert "empty-model" in customers.cli().text
    assert len(emails(customers)) == 5


def test_a_duplicate_key_is_found_though_neither_row_has_changed(customers):
    customers.cli()
    write(customers, [*people(8), people(8)[0], (None, "nobody@example.com")])

    ran = customers.cli()

    assert "error[duplicate-key]" in ran.text
    assert "error[null-key]" in ran.text
    assert len(emails(customers)) == 8
    write(customers, [*people(8)[1:], (1, "p1@example.com"), (1, "other@example.com")])
    assert "error[duplicate-key]" in customers.cli().text
    assert emails(customers) == sorted(email for _, email in people(8))


def test_a_row_whose_object_was_replaced_is_found_though_it_has_not_changed(shop, read):
    shop.rows("plans", ("pro", 1000), ("free", 0), columns="plan text, cents int")
    shop.sync(
        "plans",
        resource="price",
        key="plan",
        fields={
            "unit_amount": "cents",
            "currency": {"value": "usd"},
            "product_data.name": "plan",
            "recurring.interval": {"value": "month"},
        },
        on_removed="archive",
    )
    shop.rows("users", ("u1",), columns="id text")
    shop.sync("users", resource="customer", key="id", fields={"name": "id"})
    shop.rows("subs", ("s1", "u1", "pro"), ("s2", "u1", "free"), columns="id text, usr text, plan text")
    shop.sync(
        "subs",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "users", "key": "usr"},
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "items": [{"price": {"sync": "plans", "key": "plan"}}],
        },
    )
    assert shop.cli().exit_code == 0, shop.cli().text
    read.take()
    shop.cli()
    assert read.take() == {"plans": 1, "users": 1, "subs": 1}
    shop.rows("plans", ("pro", 1200), ("free", 0), columns="plan text, cents int")

    assert shop.cli().exit_code == 0

    # A digest, the counts and a row; a digest; the counts and a row, which is read because of its reference.
    assert read.take() == {"plans": 3, "users": 1, "subs": 2}
    amounts = {
        item["price"]["unit_amount"]
        for subscription in shop.stripe.objects("subscription")
        for item in subscription["items"]["data"]
    }
    assert amounts == {1200, 0}
    assert shop.write_calls()
    shop.cli()
    assert read.take() == {"plans": 1, "users": 1, "subs": 1}
    assert shop.write_calls() == []


def test_an_object_that_is_created_again_moves_the_rows_that_refer_to_it(shop, read):
    shop.rows("users", ("u1",), ("u2",), columns="id text")
    shop.sync("users", resource="customer", key="id", fields={"name": "id"}, on_deleted="recreate")
    shop.rows("fees", ("f1", "u1"), ("f2", "u2"), columns="id text, usr text")
    shop.sync(
        "fees",
        resource="invoice_item",
        key="id",
        fields={
            "customer": {"sync": "users", "key": "usr"},
            "amount": {"value": 500},
            "currency": {"value": "usd"},
        },
    )
    assert shop.cli().exit_code == 0
    first = next(customer for customer in shop.stripe.objects("customer") if customer["name"] == "u1")
    by_hand(shop, f"customers/{first['id']}", "DELETE")
    assert shop.cli("run", "--refresh", "--select", "users").exit_code == 0, "only the customer is made again"
    read.take()

    there = shop.cli("plan")

    assert read.take() == {"users": 1, "fees": 2}
    assert "every row is read" not in there.text
    shop.set(diff="local")
    assert "fees" in there.text
    assert shop.cli("plan").out == there.out


def test_rows_that_refer_to_forgotten_objects_are_read_until_those_are_found_again(shop, read):
    shop.rows("users", ("u1",), ("u2",), ("u3",), columns="id text")
    shop.sync("users", resource="customer", key="id", fields={"name": "id"})
    shop.rows("fees", *((f"f{number}", f"u{number % 3 + 1}") for number in range(9)), columns="id text, usr text")
    shop.sync(
        "fees",
        resource="invoice_item",
        key="id",
        fields={
            "customer": {"sync": "users", "key": "usr"},
            "amount": {"value": 500},
            "currency": {"value": "usd"},
        },
    )
    assert shop.cli().exit_code == 0
    assert shop.cli("state", "forget", "users", "--all").exit_code == 0
    shop.write_calls()
    read.take()

    # The customers are looked for by their tags, each of them.
    assert shop.cli().exit_code == 0
    assert read.take() == {"users": 3, "fees": 1}
    assert [shop.cli("plan").exit_code, shop.cli().exit_code, shop.cli("plan").exit_code] == [0, 0, 0]

    assert read.take() == {"users": 3, "fees": 3}, "three times the counts alone"
    assert not [call for call in shop.write_calls() if call in {"POST /v1/customers", "POST /v1/invoiceitems"}]


def test_a_change_in_child_rows_alone_is_found(shop, read):
    shop.rows("users", ("u1",), columns="id text")
    shop.sync("users", resource="customer", key="id", fields={"name": "id"})
    shop.rows("plans", ("a",), ("b",), columns="plan text")
    shop.sync(
        "plans",
        resource="price",
        key="plan",
        fields={
            "unit_amount": {"value": 100},
            "currency": {"value": "usd"},
            "product_data.name": "plan",
            "recurring.interval": {"value": "month"},
        },
    )
    shop.rows("subs", ("s1", "u1"), ("s2", "u1"), columns="id text, usr text")
    lines = "sub text, plan text, seats int"
    shop.rows("lines", ("s1", "a", 1), ("s1", "b", 2), ("s2", "a", 1), columns=lines)
    shop.models["lines"] = {}
    shop.write_manifest()
    shop.sync(
        "subs",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "users", "key": "usr"},
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "items": {
                "model": "lines",
                "on": "sub",
                "fields": {"price": {"sync": "plans", "key": "plan"}, "quantity": "seats"},
            },
        },
    )
    ran = shop.cli()
    assert ran.exit_code == 0, ran.text
    read.take()
    shop.rows("lines", ("s1", "b", 5), ("s2", "a", 1), ("s1", "a", 1), columns=lines)

    assert shop.cli().exit_code == 0

    # The counts and one subscription, and its own two lines.
    assert read.take() == {"users": 1, "plans": 1, "subs": 2, "lines": 2}
    quantities = sorted(
        item["quantity"]
        for subscription in shop.stripe.objects("subscription")
        for item in subscription["items"]["data"]
    )
    assert quantities == [1, 1, 5]


def test_a_changed_mapping_compares_every_row_and_sends_what_differs(customers, read):
    customers.cli()
    read.take()
    customers.write_calls()
    fields = {"email": {"template": "[[ email ]]"}}
    customers.sync("customers", resource="customer", key="id", fields=fields, on_removed="delete")

    customers.cli()

    assert read.take() == {"customers": 9}
    assert customers.write_calls() == []
    customers.cli()
    assert read.take() == NO_CHANGE


def test_full_refresh_compares_every_row_and_limit_leaves_the_rest_for_later(customers, read):
    customers.cli()
    read.take()
    customers.cli("run", "--full-refresh")
    assert read.take() == {"customers": 8}
    write(customers, people(8, n1="a@example.com", n2="b@example.com", n3="c@example.com"))

    customers.cli("run", "--limit", "1")
    read.take()
    customers.cli("run", "--limit", "1")

    assert read.take() == {"customers": 3}
    assert len({"a@example.com", "b@example.com", "c@example.com"} & set(emails(customers))) == 2
    customers.cli()
    assert emails(customers) == sorted(
        email for _, email in people(8, n1="a@example.com", n2="b@example.com", n3="c@example.com")
    )


def test_a_restored_state_does_not_trust_the_copy(customers, read):
    customers.cli()
    backup = customers.root / "backup.duckdb"
    shutil.copy(customers.state, backup)
    write(customers, people(8, n1="x@example.com"))
    customers.cli()
    shutil.copy(backup, customers.state)
    read.take()

    ran = customers.cli()

    assert "copy of their hashes is outdated" in ran.text
    assert read.take() == {"customers": 8}
    customers.cli()
    assert read.take() == NO_CHANGE


def test_another_state_leaves_the_copy_of_the_first_alone(customers, read):
    customers.cli()
    (first,) = marks(customers)
    customers.cli("run", "--state-path", str(customers.root / "other.duckdb"))
    assert len(marks(customers)) == 2
    read.take()

    customers.cli()

    assert first in marks(customers)
    assert read.take() == NO_CHANGE
    assert len(emails(customers)) == 8


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM stripe_sync.{table} WHERE key = '8'",
        "DELETE FROM stripe_sync.{table}",
        "DROP TABLE stripe_sync.{table}",
        "DROP TABLE stripe_sync.row_hash_marks",
        "DROP SCHEMA stripe_sync CASCADE",
        "ALTER TABLE stripe_sync.{table} RENAME COLUMN row_hash TO hash",
    ],
)
def test_a_damaged_copy_hides_nothing_and_is_created_again(customers, read, damage):
    customers.cli()
    ((_, _, table, *_),) = marks(customers)
    customers.do(damage.format(table=table))
    write(customers, people(7))
    assert [change["action"] for change in customers.plan()] == ["delete"]
    write(customers, people(8))

    assert customers.cli().exit_code == 0

    assert len(emails(customers)) == 8
    read.take()
    customers.cli()
    assert read.take() == NO_CHANGE


@pytest.mark.parametrize(
    "damage",
    [
        'DROP TABLE stripe_sync.{table}; CREATE VIEW stripe_sync.{table} AS SELECT 1 AS "key", 2 AS row_hash',
        "ALTER TABLE stripe_sync.row_hash_marks RENAME COLUMN digest TO sum",
    ],
)
def test_a_copy_that_cannot_be_written_again_is_reported_and_every_row_is_read(customers, damage):
    customers.cli()
    ((_, _, table, *_),) = marks(customers)
    customers.do(*damage.format(table=table).split("; "))
    write(customers, people(7))

    ran = customers.cli()

    assert ran.exit_code == 0
    assert len(emails(customers)) == 7
    assert "warning[diff-not-written]" in ran.out
    assert (
        "hint: if somebody changed a table of the hashes, drop that table: the next write creates it again" in ran.out
    )


@pytest.mark.parametrize(
    "command",
    [
        ("state", "forget", "customers", "3"),
        ("state", "rebuild"),
        ("state", "export-import"),
        ("state", "mv", "customers", "clients"),
    ],
    ids=lambda command: command[1],
)
def test_manual_changes_to_the_state_are_found_by_the_next_run(customers, read, command, tmp_path):
    customers.cli()
    customers.write_calls()
    if command[1] == "export-import":
        assert customers.cli("state", "export", str(tmp_path / "out")).exit_code == 0
        customers.state.unlink()
        assert customers.cli("state", "import", str(tmp_path / "out")).exit_code == 0
    else:
        if command[1] == "rebuild":
            customers.state.unlink()
        if command[1] == "mv":
            meta = customers.models["customers"]["meta"]["stripe_sync"]
            customers.sync("customers", **{**meta, "name": "clients"})
        ran = customers.cli(*command)
        assert ran.exit_code == 0, ran.text
    read.take()

    assert customers.cli().exit_code == 0

    # An import brings the state back as it was: the copy is right as it is.
    assert read.take() == (NO_CHANGE if command[1] == "export-import" else {"customers": 8})
    assert not [call for call in customers.write_calls() if call == "POST /v1/customers"]
    assert len(emails(customers)) == 8
    customers.cli()
    assert read.take() == NO_CHANGE


def test_values_that_are_not_stored_are_compared_by_salted_hashes(customers, read):
    customers.set(store_values=False)
    customers.cli()
    write(customers, people(8, n1="x@example.com"))
    read.take()

    customers.cli()

    assert read.take() == {"customers": 2}
    assert "x@example.com" in emails(customers)


def test_a_held_model_leaves_its_copy_unchanged(customers, read):
    customers.cli()
    before = marks(customers)
    results = customers.root / "target" / "run_results.json"
    results.write_text(results.read_text().replace('"success"', '"error"'))
    assert "model-held" in customers.cli().text
    assert marks(customers) == before
    customers.write_manifest()
    read.take()
    customers.cli()
    assert read.take() == NO_CHANGE


def test_a_saved_plan_brings_the_copy_up_to_date(customers, read):
    customers.cli()
    write(customers, people(8, n1="x@example.com"))
    customers.cli("plan", "--out", str(customers.root / "plan.jsonl"))

    assert customers.cli("apply", str(customers.root / "plan.jsonl")).exit_code == 0

    read.take()
    customers.cli()
    assert read.take() == NO_CHANGE


def test_retry_sends_only_what_the_last_run_did_not_finish(customers, read):
    customers.cli()
    write(customers, people(8, n1="no address", n2="two@example.com"))
    customers.cli()
    write(customers, people(8, n1="one@example.com", n2="later@example.com"))
    read.take()

    customers.cli("retry")

    assert read.take() == {"customers": 3}
    assert {"one@example.com", "two@example.com"} <= set(emails(customers))
    customers.cli()
    assert "later@example.com" in emails(customers)


def test_keys_of_several_columns_may_contain_special_characters(shop, read):
    columns = 'plan text, "the term" text, name text'
    rows = [('a"b', "m", "1"), ("a\\b", "m", "2"), ('a"', ',"m', "3"), ("", "y", "4"), ("ü", "née", "5")]
    shop.rows("plans", *rows, columns=columns)
    shop.sync("plans", resource="product", key=["plan", "the term"], fields={"name": "name"}, on_removed="archive")
    assert shop.cli().exit_code == 0
    read.take()

    shop.cli()

    assert read.take() == {"plans": 1}
    shop.rows("plans", *rows[1:], columns=columns)
    shop.cli()
    assert read.take() == {"plans": 3}, "a digest, the counts, and a key that is gone"
    assert [product["name"] for product in shop.stripe.objects("product") if not product["active"]] == ["1"]


def test_one_sync_alone_can_be_compared_in_the_warehouse(customers, read):
    customers.set(diff="local")
    meta = customers.models["customers"]["meta"]["stripe_sync"]
    customers.sync("customers", **meta, diff="warehouse")
    customers.cli()
    read.take()

    customers.cli()

    assert read.take() == NO_CHANGE


def test_a_row_that_lost_its_object_to_another_row_is_found_though_its_change_failed(shop, read):
    """A coupon's own id moves from a row that a person forgot to another one, which has an old record."""
    columns = "id int, code text"
    fields = {"id": "code", "percent_off": {"value": 10}, "duration": {"value": "once"}}
    shop.rows("coupons", (1, "SPRING"), (2, "SUMMER"), columns=columns)
    shop.sync("coupons", resource="coupon", key="id", fields=fields)
    shop.rows("codes", ("P1", 1), columns="id text, coupon int")
    promotion = {"type": {"value": "coupon"}, "coupon": {"sync": "coupons", "key": "coupon"}}
    shop.sync(
        "codes",
        resource="promotion_code",
        key="id",
        fields={"code": "id"} | {f"promotion.{name}": value for name, value in promotion.items()},
    )
    assert shop.cli().exit_code == 0
    assert shop.cli("state", "forget", "coupons", "1").exit_code == 0
    by_hand(shop, "coupons/SPRING", "DELETE")
    shop.rows("coupons", (1, "WINTER"), (2, "SPRING"), columns=columns)
    shop.stripe.inject(Fault(kind=FaultKind.STATUS, method="POST", path="/v1/promotion_codes", status=402, count=1))
    assert shop.cli().exit_code == 1
    read.take()

    there = shop.cli("plan")

    assert read.take() == {"coupons": 1, "codes": 2}
    shop.set(diff="local")
    assert "replaced by a new promotion_code" in there.text
    assert shop.plan()


def test_a_row_that_needs_a_value_still_in_use_waits_for_a_later_plan(shop):
    """The coupon that has the id now can't be deleted, since a promotion code that is rejected refers to it."""
    columns = "id int, code text"
    fields = {"id": "code", "percent_off": {"value": 10}, "duration": {"value": "once"}}
    limits = {"max_removed": 5}
    shop.rows("coupons", (1, "SPRING"), (2, "SUMMER"), columns=columns)
    shop.sync("coupons", resource="coupon", key="id", fields=fields, on_removed="delete", limits=limits)
    shop.rows("codes", ("P1", 1), ("P2", 2), columns="id text, coupon int")
    promotion = {"type": {"value": "coupon"}, "coupon": {"sync": "coupons", "key": "coupon"}}
    shop.sync(
        "codes",
        resource="promotion_code",
        key="id",
        fields={"code": "id"} | {f"promotion.{name}": value for name, value in promotion.items()},
        on_removed="archive",
        limits=limits,
    )
    assert shop.cli().exit_code == 0
    shop.write_calls()
    shop.rows("coupons", (2, "SPRING"), columns=columns)

    ran = shop.cli()

    assert ran.exit_code == 1
    assert "row [1] of `coupons`, which has to change first, can't be changed in this plan" in ran.text
    assert shop.write_calls() == []
    shop.rows("codes", ("P2", 2), columns="id text, coupon int")
    assert shop.cli().exit_code == 0
    assert [coupon["id"] for coupon in shop.stripe.objects("coupon")] == ["SPRING"]
