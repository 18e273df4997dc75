"""The commands around a sync: past runs, remaining work, and the state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest
from business import ROOT, run_cli

from dbt_stripe_sync.sandbox import Sandbox


def reject_one(customers):
    """Customer 4 has an address that Stripe refuses."""
    customers.table("customers", "SELECT * FROM customers UNION ALL SELECT 4, 'no address', 'Dee'")


def records_of(business, sync="customers"):
    listed = business.cli("state", "list", sync, "--output", "json").out.splitlines()
    return {record["key"]: record["stripe_id"] for record in map(json.loads, listed)}


@pytest.mark.parametrize(
    ("command", "sender"),
    [
        (["plan"], "`dbt-stripe-sync run` sends"),
        (["plan", "--select", "customers"], "`dbt-stripe-sync run` with the same options sends"),
        (["plan", "--limit", "1"], "`dbt-stripe-sync run` with the same options sends"),
        (["plan", "--out", "{plan}"], "`dbt-stripe-sync apply {plan}` sends"),
        (["run", "--dry-run"], "the same command without `--dry-run` sends"),
    ],
)
def test_a_plan_ends_with_the_command_that_sends_exactly_this_plan(customers, tmp_path, command, sender):
    plan = tmp_path / "customers.plan"

    shown = customers.cli(*(word.format(plan=plan) for word in command)).out

    assert f"hint: {sender.format(plan=plan)} this plan" in shown


def test_state_list_shows_counts_and_how_many_records_it_omits(customers):
    customers.cli()

    short = customers.cli("state", "list", "customers", "--limit", "2")

    assert json.loads(customers.cli("state", "list", "--output", "json").out)["records"] == 3
    assert len(short.out.splitlines()) == 3
    assert short.err == "… and 1 more; `--limit` shows more of them.\n"
    assert customers.cli("state", "list", "customers").err == ""


@pytest.mark.telling
def test_each_run_leaves_its_results_and_its_report_next_to_dbts_own(customers):
    customers.cli()

    target = customers.root / "target"
    results = json.loads((target / "stripe_sync_results.json").read_text())
    page = (target / "stripe_sync_report.html").read_text()

    assert results["totals"]["succeeded"] == 3
    assert "<html" in page
    assert "a@example.com" not in page
    assert "Content-Security-Policy" in page


def test_a_run_whose_artifacts_do_not_fit_on_the_disk_succeeds_and_says_so(customers):
    (customers.root / "target" / "stripe_sync_report.html").mkdir()

    ran = customers.cli()

    assert ran.exit_code == 0
    assert customers.stripe.count("customer") == 3
    assert "warning[artifact-not-written]" in ran.text
    # The end of the output lists only files that exist.
    assert ran.out.splitlines()[-1].endswith("/target/stripe_sync_results.json")


@pytest.mark.parametrize("name", ["DBT_PROJECT_DIR", "DBT_ENGINE_PROJECT_DIR"])
def test_the_project_may_be_named_in_the_environment_as_in_dbt(customers, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, str(customers.root))

    ran = run_cli("ls", "--output", "json")

    assert json.loads(ran.out)["sync"] == "customers"


@pytest.mark.telling
def test_runs_lists_what_was_done_newest_first(customers):
    customers.cli()
    reject_one(customers)
    customers.cli()

    rows = [json.loads(line) for line in customers.cli("runs", "--output", "json").out.splitlines()]
    text = customers.cli("runs")

    assert [(row["status"], row["succeeded"], row["rejected"]) for row in rows] == [
        ("partial", 0, 1),
        ("succeeded", 3, 0),
    ]
    assert rows[0]["run"] in text.out


@pytest.mark.parametrize("options", [(), ("--quiet",), ("--log-format", "json")])
def test_report_prints_a_run_as_one_json_document(customers, tmp_path, options):
    plan = str(tmp_path / "stripe.plan")
    dry = json.loads(customers.cli("run", "--dry-run", "--output", "json", *options).out)
    ran = json.loads(customers.cli("run", "--output", "json", *options).out)
    customers.table(
        "customers", "SELECT * REPLACE (CASE id WHEN 1 THEN 'not an address' ELSE email END AS email) FROM customers"
    )
    customers.cli("plan", "--out", plan, *options)
    applied = customers.cli("apply", plan, "--output", "json", *options)
    retried = json.loads(customers.cli("retry", "--output", "json", *options).out)
    customers.table("customers", "SELECT * FROM customers WHERE id > 1")
    customers.cli("run", *options)

    assert [change["action"] for change in dry["changes"]] == ["create"] * 3
    assert [result["status"] for result in ran["results"]] == ["succeeded"] * 3
    assert applied.exit_code == 1
    assert [result["status"] for result in json.loads(applied.out)["results"]] == ["rejected"]
    assert [result["key"] for result in retried["results"]] == ["1"]
    assert customers.cli("retry", "--output", "json", *options).out == "null\n"
    assert json.loads(customers.cli("report", "--output", "json").out)["metadata"]["run_id"]


def test_report_prints_any_run_as_text_as_json_and_as_a_page(customers):
    customers.cli()
    first = json.loads(customers.cli("runs", "--output", "json").out)["run"]
    customers.cli()

    last = json.loads(customers.cli("report", "--json").out)
    older = json.loads(customers.cli("report", first, "--json").out)
    text = customers.cli("report", first[:-1], "--text")
    page = customers.cli("report", first, "--html")

    assert len(last["results"]) == 0
    assert len(older["results"]) == 3
    assert "3" in text.out
    assert "a@example.com" not in text.out + json.dumps(older)
    assert page.out.strip() == str(customers.root / "target" / "stripe_sync_report.html")
    assert first in (customers.root / "target" / "stripe_sync_report.html").read_text()


def test_an_unknown_run_is_reported_with_how_to_list_runs(customers):
    none = customers.cli("report", "--text")
    customers.cli()
    unknown = customers.cli("report", "1999", "--text")

    assert none.exit_code == unknown.exit_code == 2
    assert "error[no-state]: there is no state yet" in none.err
    assert "error[no-run]: unknown run `1999`" in unknown.err
    assert "hint: `dbt-stripe-sync runs` lists them" in unknown.err


@pytest.mark.telling
def test_retry_sends_only_what_the_last_run_did_not_finish(customers):
    reject_one(customers)
    left = customers.cli()
    customers.table(
        "customers",
        "SELECT id, CASE id WHEN 4 THEN 'd@example.com' ELSE email END AS email, "
        "CASE id WHEN 1 THEN 'changed meanwhile' ELSE name END AS name FROM customers",
    )
    customers.write_calls()

    retried = customers.cli("retry")
    again = customers.cli("retry")

    assert left.exit_code == 1
    assert retried.exit_code == 0, retried.err
    assert customers.write_calls() == ["POST /v1/customers"]
    assert sorted(c["email"] for c in customers.stripe.objects("customer")) == [f"{x}@example.com" for x in "abcd"]
    assert "Nothing to retry" in again.out


def test_retrying_an_unknown_run_sends_nothing(customers):
    customers.cli()
    customers.write_calls()

    ran = customers.cli("retry", "20200101")

    assert ran.exit_code == 2
    assert "error[no-run]: unknown run `20200101`" in ran.text
    assert customers.write_calls() == []


def test_retry_includes_rows_that_were_rejected_before_they_were_sent(customers):
    customers.table(
        "customers", "SELECT * REPLACE (CASE id WHEN 2 THEN repeat('x', 600) ELSE name END AS name) FROM customers"
    )
    customers.sync("customers", resource="customer", key="id", fields={"metadata.note": "name"})
    customers.cli()
    customers.table("customers", "SELECT * REPLACE (left(name, 10) AS name) FROM customers")

    retried = customers.cli("retry")

    assert retried.exit_code == 0, retried.err
    assert customers.stripe.count("customer") == 3


@pytest.mark.telling
def test_a_forgotten_record_is_found_by_its_tag_and_nothing_is_created_twice(customers):
    customers.cli()
    before = records_of(customers)

    forgot = customers.cli("state", "forget", "customers", "2")
    after = records_of(customers)
    customers.write_calls()
    ran = customers.cli()

    assert "Forgot 1 record of `customers`; its object stays in Stripe." in forgot.text
    assert after == {key: before[key] for key in ("1", "3")}
    assert ran.exit_code == 0, ran.err
    assert customers.write_calls() == []
    assert records_of(customers) == before


def test_a_forgotten_record_of_a_deleted_object_creates_a_new_one(customers):
    customers.cli()
    gone = records_of(customers)["2"]
    request = Request(f"{customers.stripe.url}/v1/customers/{gone}", method="DELETE")  # noqa: S310 - our own server
    request.add_header("Authorization", f"Bearer {Sandbox.api_key}")
    urlopen(request).close()  # noqa: S310 - our own server
    customers.cli("state", "forget", "customers", "2")

    ran = customers.cli()

    assert ran.exit_code == 0, ran.err
    assert customers.stripe.count("customer") == 3
    assert records_of(customers)["2"] != gone


@pytest.mark.telling
def test_forget_needs_arguments_and_refuses_unknown_keys(customers):
    customers.cli()

    nothing = customers.cli("state", "forget", "customers")
    unknown = customers.cli("state", "forget", "customers", "2", "77")
    everything = customers.cli("state", "forget", "customers", "--all")

    assert nothing.exit_code == unknown.exit_code == 2
    assert "error[no-record]" in unknown.err
    assert "3 records" in everything.out
    assert records_of(customers) == {}


def test_a_renamed_sync_keeps_its_records(customers):
    customers.cli()
    meta = customers.models["customers"]["meta"]["stripe_sync"]
    customers.sync("customers", **meta, name="people")
    moved = customers.cli("state", "mv", "customers", "people", "--keep-tags")
    customers.write_calls()

    ran = customers.cli()

    assert "Moved 3 records from `customers` to `people`." in moved.text
    assert ran.exit_code == 0, ran.err
    assert customers.write_calls() == []


def test_a_state_moves_to_another_file_by_export_and_import(customers, tmp_path):
    customers.cli()
    before = records_of(customers)
    exported = customers.cli("state", "export", str(tmp_path / "kept"))
    customers.state.unlink()

    imported = customers.cli("state", "import", str(tmp_path / "kept"))
    again = customers.cli("state", "import", str(tmp_path / "kept"))

    assert exported.exit_code == imported.exit_code == 0, imported.err
    assert records_of(customers) == before
    assert again.exit_code == 2
    assert "error[state-not-empty]" in again.err


def test_rebuild_restores_every_record_and_the_next_run_sends_nothing(business):
    business.rows("plans", ("solo", "Solo"), ("team", "Team"), columns="code text, name text")
    business.rows("prices", ("p1", "solo", 1900), ("p2", "team", 2900), columns="code text, plan text, cents int")
    business.rows("people", (1, "a@example.com"), (2, "b@example.com"), columns="id int, email text")
    business.sync("plans", resource="product", key="code", fields={"name": "name"}, on_removed="archive")
    business.sync(
        "prices",
        resource="price",
        key="code",
        fields={
            "product": {"sync": "plans", "key": "plan"},
            "currency": {"value": "usd"},
            "unit_amount": "cents",
            "recurring.interval": {"value": "month"},
        },
    )
    business.sync("people", resource="customer", key="id", fields={"email": "email", "metadata.number": "id"})
    business.cli()
    business.table("prices", "SELECT code, plan, CASE code WHEN 'p1' THEN 2100 ELSE cents END AS cents FROM prices")
    business.table("plans", "SELECT * FROM plans UNION ALL SELECT 'old', 'Old'")
    business.cli()
    business.table("plans", "SELECT * FROM plans WHERE code <> 'old'")
    business.cli()
    before = {sync: records_of(business, sync) for sync in ("plans", "prices", "people")}
    business.state.unlink()
    business.write_calls()

    rebuilt = business.cli("state", "rebuild")
    after = {sync: records_of(business, sync) for sync in ("plans", "prices", "people")}
    ran = business.cli()

    assert rebuilt.exit_code == 0, rebuilt.err
    assert after == before
    assert ran.exit_code == 0, ran.err
    assert business.write_calls() == []


@pytest.mark.telling
def test_rebuild_keeps_the_items_of_subscriptions(business):
    business.rows("people", (1, "a@example.com"), columns="id int, email text")
    business.rows("prices", ("p1", 1900), ("p2", 2900), columns="code text, cents int")
    business.rows("subs", (7, 1), columns="id int, person int")
    business.rows("seats", (7, "p1", 2), (7, "p2", 1), columns="sub int, price text, quantity int")
    business.sync("people", resource="customer", key="id", fields={"email": "email"})
    fields = {"currency": {"value": "usd"}, "unit_amount": "cents", "recurring.interval": {"value": "month"}}
    business.sync("prices", resource="price", key="code", fields={**fields, "product_data.name": {"value": "Seats"}})
    items = {"price": {"sync": "prices", "key": "price"}, "quantity": "quantity"}
    business.sync(
        "subs",
        resource="subscription",
        key="id",
        fields={
            "customer": {"sync": "people", "key": "person"},
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "items": {"model": "seats", "on": "sub", "fields": items, "order_by": "price"},
        },
    )
    first = business.cli()
    business.state.unlink()
    business.write_calls()

    business.cli("state", "rebuild")
    ran = business.cli()

    assert first.exit_code == ran.exit_code == 0, first.err + ran.err
    assert business.write_calls() == []


@pytest.mark.telling
def test_rebuild_reports_what_no_tag_can_restore(business):
    business.rows("events", ("e1", "cus_1", 3), columns="id text, customer text, value int")
    business.sync(
        "events",
        resource="billing.meter_event",
        key="id",
        fields={
            "event_name": {"value": "calls"},
            "payload.stripe_customer_id": "customer",
            "payload.value": "value",
        },
    )

    rebuilt = business.cli("state", "rebuild")

    assert rebuilt.exit_code == 1
    assert "no metadata tag" in rebuilt.text


def test_commands_on_the_state_need_no_key(customers, monkeypatch):
    customers.cli()
    monkeypatch.delenv("STRIPE_API_KEY")

    assert customers.cli("runs").exit_code == 0
    assert customers.cli("report", "--text").exit_code == 0
    assert customers.cli("state", "list").exit_code == 0
    assert Sandbox.api_key not in customers.cli("report", "--json", "--show-values").out


@pytest.mark.telling
def test_windows_gets_a_hint_about_wsl(customers, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")

    ran = customers.cli("run")

    assert ran.exit_code == 2
    assert "error[unsupported-system]: dbt-stripe-sync doesn't run on Windows" in ran.text
    assert "hint: run it on Linux or macOS, or in the Windows Subsystem for Linux" in ran.text
    assert customers.stripe.writes() == []


@pytest.mark.telling
def test_selectors_can_be_listed_as_with_dbt(customers):
    customers.rows("plans", ("solo", "Solo"), columns="code text, name text")
    customers.sync("plans", resource="product", key="code", fields={"name": "name"})
    customers.rows("more", ("x", "X"), columns="code text, name text")
    customers.sync("more", resource="product", key="code", fields={"name": "name"})

    listed = customers.cli("ls", "--select", "customers", "plans", "--exclude", "plans", "--output", "json")
    both = customers.cli("ls", "--output", "json", "-s", "customers", "plans")

    assert [json.loads(line)["sync"] for line in listed.out.splitlines()] == ["customers"]
    assert {json.loads(line)["sync"] for line in both.out.splitlines()} == {"customers", "plans"}


def test_parse_imports_only_what_it_needs(customers):
    code = (
        "import sys\nfrom dbt_stripe_sync.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "ours = ('dbt_stripe_sync.report.html', 'dbt_stripe_sync.authoring')\n"
        # DuckDB is the warehouse here, and `parse` looks for the columns.
        "slow = ('stripe', 'aiohttp', *ours)\n"
        "print(*(name for name in slow if name in sys.modules))"
    )
    options = ["--project-dir", str(customers.root), "--profiles-dir", str(customers.root)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-c", code, "parse", *options], check=False, env=environment, capture_output=True, text=True
    )

    assert done.stdout.splitlines() == ["1 sync is well formed.", ""]


@pytest.mark.telling
def test_defer_without_a_build_is_an_error(customers):
    ran = customers.cli("run", "--defer", "--state", "prod")

    assert ran.exit_code == 2
    assert (
        "error[defer-without-build]: `--defer` changes what `dbt build` builds, and this run builds nothing" in ran.text
    )
    assert "hint: add `--build`, or drop `--defer`" in ran.text
    assert customers.stripe.count("customer") == 0


def test_a_sync_is_not_moved_to_itself(customers):
    """The advice for a name that is taken would be to drop the records that were meant to be kept."""
    customers.cli()

    ran = customers.cli("state", "mv", "customers", "customers")

    assert ran.exit_code == 2
    assert "OLD and NEW are both 'customers'" in ran.err
    assert "forget" not in ran.err


@pytest.mark.telling
@pytest.mark.parametrize(
    "command",
    [
        ("list", "customer"),
        ("show", "customer", "1"),
        ("forget", "customer", "1"),
        ("forget", "customer", "--all"),
        ("mv", "customer", "people"),
    ],
)
def test_a_sync_without_records_is_reported_with_the_closest_name(customers, command):
    customers.cli()

    ran = customers.cli("state", *command)

    assert ran.exit_code == 2
    assert ran.out == ""
    assert "error[no-record]: the state has no records of a sync `customer`" in ran.err
    assert "hint: did you mean `customers`? `dbt-stripe-sync state list` lists the syncs" in ran.text


def test_a_sync_of_the_project_without_records_has_an_empty_list(customers):
    customers.cli()
    customers.rows("products", columns="id int, name text")
    customers.sync("products", resource="product", key="id", fields={"name": "name"})

    ran = customers.cli("state", "list", "products")

    assert (ran.exit_code, ran.out.split()) == (0, ["key", "stripe_id", "status"]), ran.err


def test_undo_without_a_state_creates_none(customers):
    ran = customers.cli("undo", "2026")

    assert ran.exit_code == 2
    assert "error[no-state]" in ran.err
    assert not customers.state.exists()


def test_show_explains_that_its_sync_is_not_selected(customers):
    ran = customers.cli("show", "customers", "--select", "nothing")

    assert ran.exit_code == 2
    assert "hint: no sync is selected: `dbt-stripe-sync ls` lists them" in ran.err
