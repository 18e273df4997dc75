"""Models that dbt failed to build or test never reach Stripe; neither do their children."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from business import ROOT, run_cli


def build(dbt, project):
    """A `dbt build` that may fail in part."""
    command = [
        str(dbt),
        "build",
        "--threads",
        "1",
        "--target",
        "duckdb",
        "--project-dir",
        str(project),
        "--profiles-dir",
        str(project),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, check=False, cwd=project, env=environment, capture_output=True, text=True).returncode


def write_results(
    business, statuses, invocation="x", *, command="build", at="2026-01-01T00:00:00Z", relations=None, **arguments
):
    results = [
        {"unique_id": unique_id, "status": status, "relation_name": (relations or {}).get(unique_id)}
        for unique_id, status in statuses.items()
    ]
    metadata = {"invocation_id": invocation, "generated_at": at}
    raw = {"metadata": metadata, "results": results, "args": {"which": command} | arguments}
    (business.root / "target" / "run_results.json").write_text(json.dumps(raw))


@pytest.mark.slow
def test_a_failing_test_of_error_severity_holds_the_model_and_its_children(sample, dbt_1, stripe, monkeypatch):
    schema = sample / "models" / "stripe" / "schema.yml"
    text = schema.read_text()
    column = "      - name: plan_code\n        data_tests: [unique, not_null]\n"
    assert column in text
    broken = column.replace("[unique, not_null]", "[{accepted_values: {arguments: {values: [none]}}}]")
    schema.write_text(text.replace(column, broken, 1))
    monkeypatch.chdir(sample)
    options = ["--project-dir", str(sample), "--profiles-dir", str(sample), "--target", "duckdb"]

    built = build(dbt_1, sample)
    held = run_cli("run", *options, "--stripe-url", stripe.url, "--select", "stripe_customers", "stripe_products")
    products_held = stripe.count("product")
    overridden = run_cli(
        "run", *options, "--stripe-url", stripe.url, "--ignore-dbt-results", "--select", "stripe_products"
    )

    assert built == 1
    assert held.exit_code == 1
    assert "error[model-held]: nothing is sent for `stripe_products`: the test `accepted_values" in held.text
    assert products_held == 0
    assert stripe.count("customer") == 11
    assert overridden.exit_code == 0, overridden.err
    assert stripe.count("product") == 5


def test_a_failed_model_is_held_and_the_run_says_so(customers):
    write_results(customers, {"model.shop.customers": "error"})

    held = customers.cli()
    before = customers.stripe.count("customer")
    overridden = customers.cli("run", "--ignore-dbt-results")

    assert held.exit_code == 1
    assert "nothing is sent for `customers`: `customers` failed in dbt's last run" in held.text
    assert before == 0
    assert overridden.exit_code == 0
    assert customers.stripe.count("customer") == 3


@pytest.mark.slow
def test_results_older_than_the_manifest_are_reported_if_they_hold_something(customers):
    write_results(customers, {"model.shop.customers": "error"}, invocation="another")

    ran = customers.cli()

    assert ran.exit_code == 1
    assert "warning[stale-run-results]" in ran.text


@pytest.mark.slow
def test_dbt_parse_after_a_successful_build_needs_no_warning(customers):
    write_results(customers, {"model.shop.customers": "success"}, invocation="another")

    ran = customers.cli()

    assert ran.exit_code == 0
    assert "warning" not in ran.text


@pytest.mark.slow
def test_a_project_that_changed_since_dbt_read_it_is_reported_even_next_to_a_fixed_error(customers):
    models = customers.root / "models"
    models.mkdir()
    (models / "customers.sql").write_text("select 1")
    (models / "stripe_sync_exposures.yml").write_text("exposures: []")

    fine = customers.cli()
    customers.sync("customers", resource="custommer", key="id", fields={"email": "email"})
    broken = customers.cli("parse")

    assert fine.exit_code == 0
    assert "warning[stale-manifest]: the project has changed since dbt read it: `models/customers.sql`" in fine.text
    assert "exposures" not in fine.text
    assert broken.exit_code == 2
    assert "error[unknown-resource]" in broken.text
    assert "warning[stale-manifest]" in broken.text


def test_a_failed_hook_is_reported_until_it_succeeds(customers):
    hook = "operation.shop.shop-on-run-end-0"
    write_results(customers, {"model.shop.customers": "success", hook: "error"})
    failed = customers.cli()
    write_results(customers, {"model.shop.customers": "success", hook: "success"})

    assert failed.exit_code == 0
    assert "warning[hook-failed]: the hook `shop.shop-on-run-end-0` failed in dbt's last run" in failed.text
    assert "hook-failed" not in customers.cli().text


def test_links_to_nothing_and_folders_outside_the_project_stop_nothing(customers):
    (customers.root / "models").mkdir()
    (customers.root / "models" / ".#customers.sql").symlink_to("somebody@a-machine.4711")
    (customers.root / "models" / ".#customers.yml").symlink_to("somebody@a-machine.4711")
    project = customers.root / "dbt_project.yml"
    project.write_text(json.dumps(json.loads(project.read_text()) | {"model-paths": ["models", "../shared"]}))
    shared = customers.root.parent / "shared"
    shared.mkdir(exist_ok=True)
    (shared / "orders.sql").write_text("select 1")
    (shared / "orders.yml").write_text("macros: [{name: m, meta: {stripe_sync: {}}}]")

    ran = customers.cli("parse")

    assert ran.exit_code == 0, ran.text
    assert "it: `../shared/orders.sql`, `../shared/orders.yml`" in ran.text
    assert "at ../shared/orders.yml, line 1" in ran.text


@pytest.mark.slow
def test_a_manifest_newer_than_every_file_gets_no_warning(customers):
    models = customers.root / "models"
    models.mkdir()
    old = models / "customers.sql"
    old.write_text("select 1")
    os.utime(old, (1_600_000_000, 1_600_000_000))

    ran = customers.cli()

    assert "warning" not in ran.text


MODEL = "model.shop.customers"
TEST = "test.shop.unique_customers_id.1"


@pytest.fixture
def tested(customers):
    """The customers, with a test that guards them."""
    manifest = customers.root / "target" / "manifest.json"
    raw = json.loads(manifest.read_text())
    raw["nodes"][TEST] = {
        "name": "unique_customers_id",
        "path": "unique_customers_id.sql",
        "resource_type": "test",
        "package_name": "shop",
        "attached_node": MODEL,
        "depends_on": {"nodes": [MODEL]},
        "config": {"severity": "ERROR"},
    }
    manifest.write_text(json.dumps(raw))
    return customers


def is_held(business):
    ran = business.cli("plan")
    return "held back: " in ran.text


@pytest.mark.parametrize("command", ["generate", "compile", "run-operation", "show", "freshness"])
def test_a_command_that_neither_builds_nor_tests_lifts_no_hold(tested, command):
    write_results(tested, {MODEL: "success", TEST: "fail"}, "built")
    before = is_held(tested)
    write_results(tested, {MODEL: "success", TEST: "success"}, "later", command=command, at="2026-01-02T00:00:00Z")

    ran = tested.cli("plan")

    assert before
    assert (
        "held back: the test `unique_customers_id` failed in `dbt build` at 2026-01-01 00:00 UTC, "
        "and has no newer result" in ran.text
    )


@pytest.mark.parametrize(
    ("command", "statuses"),
    [("seed", {"seed.shop.raw": "success"}), ("test", {"test.shop.other.2": "pass"}), ("run", {MODEL: "success"})],
)
def test_a_test_that_failed_holds_its_model_until_it_passes(tested, command, statuses):
    write_results(tested, {MODEL: "success", TEST: "fail"}, "built")
    before = is_held(tested)
    write_results(tested, statuses, "later", command=command, at="2026-01-02T00:00:00Z")
    meanwhile = is_held(tested)
    write_results(tested, {TEST: "pass"}, "last", command="test", at="2026-01-03T00:00:00Z")

    assert [before, meanwhile, is_held(tested)] == [True, True, False]


@pytest.mark.slow
def test_a_skipped_test_changes_nothing(tested):
    write_results(tested, {MODEL: "success", TEST: "fail"}, "built")
    before = is_held(tested)
    write_results(tested, {MODEL: "success", TEST: "skipped"}, "later", at="2026-01-02T00:00:00Z")

    assert [before, is_held(tested)] == [True, True]


def test_dbt_retry_lifts_the_hold_of_what_it_fixed(tested):
    write_results(tested, {MODEL: "error", TEST: "skipped"}, "built")
    before = is_held(tested)
    write_results(tested, {MODEL: "success", TEST: "pass"}, "again", command="retry", at="2026-01-02T00:00:00Z")

    assert [before, is_held(tested)] == [True, False]


@pytest.mark.slow
def test_results_survive_deleting_the_target_folder(tested):
    write_results(tested, {MODEL: "success", TEST: "fail"}, "built")
    before = is_held(tested)
    (tested.root / "target" / "run_results.json").unlink()

    assert [before, is_held(tested)] == [True, True]


@pytest.mark.slow
def test_a_test_that_stores_its_failures_in_a_table_holds_its_model_like_any_other(tested):
    stored = {MODEL: '"warehouse"."main"."customers"', TEST: '"warehouse"."main_dbt_test__audit"."unique_customers_id"'}
    write_results(tested, {MODEL: "success", TEST: "fail"}, "built", relations=stored)
    before = is_held(tested)
    write_results(tested, {TEST: "pass"}, "last", command="test", at="2026-01-02T00:00:00Z", relations=stored)

    assert [before, is_held(tested)] == [True, False]


def test_a_test_that_failed_in_dbt_cloud_holds_its_model(tested):
    """dbt Cloud's jobs have profiles and targets that no profile of this project knows."""
    write_results(tested, {MODEL: "success", TEST: "fail"}, "built", target="default", profile="user")

    assert is_held(tested)


@pytest.fixture
def on_two_servers(tested):
    """The customers, with a second target whose tables have the same names in another file."""
    profiles = json.loads((tested.root / "profiles.yml").read_text())
    profiles["shop"]["outputs"]["prod"] = {"type": "duckdb", "path": str(tested.root / "prod" / "warehouse.duckdb")}
    (tested.root / "profiles.yml").write_text(json.dumps(profiles))
    (tested.root / "prod").mkdir()
    shutil.copy(tested.root / "warehouse.duckdb", tested.root / "prod" / "warehouse.duckdb")
    return tested


@pytest.mark.slow
@pytest.mark.parametrize("other", ["dev", None], ids=["named", "by default"])
@pytest.mark.parametrize("failed", [{MODEL: "error"}, {MODEL: "success", TEST: "fail"}], ids=["model", "test"])
def test_results_of_another_server_do_not_lift_a_hold(on_two_servers, failed, other):
    relations = {MODEL: '"warehouse"."main"."customers"'}
    write_results(on_two_servers, failed, "prod", target="prod", relations=relations)
    before = on_two_servers.cli("plan", "-t", "prod")
    passed = {MODEL: "success", TEST: "pass"}
    write_results(on_two_servers, passed, "dev", at="2026-01-02T00:00:00Z", target=other, relations=relations)
    on_dev = on_two_servers.cli("plan", "-t", "dev", "--state-path", str(on_two_servers.root / "dev.state"))

    after = on_two_servers.cli("plan", "-t", "prod")

    assert "held back: " in before.text
    assert "held back: " not in on_dev.text
    assert "held back: " in after.text


@pytest.mark.parametrize("named", ["dev", None], ids=["named", "by default"])
def test_results_of_another_server_do_not_count_for_this_target(on_two_servers, named):
    manifest = json.loads((on_two_servers.root / "target" / "manifest.json").read_text())
    write_results(on_two_servers, {MODEL: "success"}, manifest["metadata"]["invocation_id"], target=named)

    ran = on_two_servers.cli("plan", "-t", "prod")

    assert ran.exit_code == 2
    assert "error[other-target]: dbt has built target `dev` (warehouse.main), and this is target `prod`" in ran.text


@pytest.mark.parametrize("option", ["empty", "sample"])
def test_a_model_built_without_rows_is_held(customers, option):
    write_results(customers, {MODEL: "success"}, "built", **{option: True})

    ran = customers.cli("plan")

    assert f"`customers` was built with `--{option}`, without all its rows, in dbt's last run" in ran.text


def test_a_model_without_a_known_result_is_reported_and_synced(tested):
    (tested.root / "target" / "run_results.json").unlink()

    ran = tested.cli()

    assert ran.exit_code == 0
    assert "warning[no-dbt-results]: no dbt result is known for `customers`: neither a build nor a test" in ran.text


def test_a_model_without_known_test_results_is_reported(tested):
    write_results(tested, {MODEL: "success"}, "built", command="run")

    ran = tested.cli()

    assert ran.exit_code == 0
    assert "warning[no-test-results]: no current result is known of any test of `customers`" in ran.text


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ({}, "no dbt result is known for `customers`, and results are required"),
        ({MODEL: "success"}, "no result of its test `unique_customers_id` is known, and results are required"),
    ],
)
def test_results_can_be_required(tested, statuses, reason):
    tested.set(require_results=True)
    write_results(tested, statuses, "built")

    ran = tested.cli()

    assert ran.exit_code == 1
    assert f"error[model-held]: nothing is sent for `customers`: {reason}" in ran.text
    assert tested.stripe.count("customer") == 0


@pytest.mark.slow
def test_a_build_whose_results_were_overwritten_makes_older_ones_unknown(tested):
    """A build, a sync, a second build, and other results over those of the second: dbt 2 leaves it at that."""
    write_results(tested, {MODEL: "success", TEST: "pass"}, "first")
    first = tested.cli("plan")
    run = tested.root / "target" / "run" / "shop" / "models" / "customers.sql"
    run.parent.mkdir(parents=True)
    run.write_text("create table customers")
    write_results(tested, {MODEL: "success"}, "later", command="compile", at="2026-01-02T00:00:00Z")

    second = tested.cli("plan")

    assert "no-dbt-results" not in first.text
    assert "warning[no-dbt-results]" in second.text


@pytest.mark.parametrize(
    "path", ["models/schema.yml/unique_customers_id.sql", "target/generic_tests/unique_customers_id.sql"]
)
@pytest.mark.slow
def test_a_test_whose_newest_result_was_overwritten_is_reported_and_can_be_required(tested, path):
    """A build, a sync, a `dbt test`, and other results over those of the test."""
    write_results(tested, {MODEL: "success", TEST: "pass"}, "first")
    first = tested.cli("plan")
    ran = tested.root / "target" / "run" / "shop" / path
    ran.parent.mkdir(parents=True)
    ran.write_text("select id from customers")
    write_results(tested, {MODEL: "success"}, "later", command="compile", at="2026-01-02T00:00:00Z")

    second = tested.cli("plan")
    tested.set(require_results=True)
    third = tested.cli("plan")

    assert "no-test-results" not in first.text
    assert "warning[no-test-results]: dbt has run the test `unique_customers_id` of `customers` again" in second.text
    assert "no result of its test `unique_customers_id` is known, and results are required" in third.text


@pytest.mark.slow
def test_results_outdated_by_later_commands_are_forgotten(tested):
    for day in range(1, 4):
        write_results(tested, {MODEL: "success", TEST: "pass"}, f"day {day}", at=f"2026-02-0{day}T00:00:00Z")
        tested.cli("plan")

    remembered = sorted((tested.root / ".stripe_sync" / "dbt_results").iterdir())
    assert [file.name for file in remembered] == ["2026-02-03T000000Z-day 3.json"]


def test_tables_of_another_target_are_not_read(customers):
    prod = {"type": "duckdb", "path": str(customers.root / "prod.duckdb"), "schema": "prod"}
    profiles = json.loads((customers.root / "profiles.yml").read_text())
    profiles["shop"]["outputs"]["prod"] = prod
    (customers.root / "profiles.yml").write_text(json.dumps(profiles))

    refused = {
        command[0]: customers.cli(*command, "-t", "prod") for command in (("run",), ("plan",), ("show", "customers"))
    }
    listed = customers.cli("ls", "-t", "prod")

    for ran in refused.values():
        assert ran.exit_code == 2
        assert "error[other-target]: dbt has built target `dev` (warehouse.main), and this is target `prod`" in ran.text
    assert customers.stripe.requests() == []
    assert listed.exit_code == 0
    assert "warning[other-target]" in listed.text
