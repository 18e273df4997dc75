"""What dbt could not build or test well never reaches Stripe, and neither does what comes from it."""

from __future__ import annotations

import json
import os
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


def write_results(business, statuses, invocation="x"):
    results = [{"unique_id": unique_id, "status": status} for unique_id, status in statuses.items()]
    raw = {"metadata": {"invocation_id": invocation, "generated_at": "2026-01-01T00:00:00Z"}, "results": results}
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
    assert "error[model-held]: nothing of `stripe_products` is sent: the test `accepted_values" in held.text
    assert products_held == 0
    assert stripe.count("customer") == 11
    assert overridden.exit_code == 0, overridden.err
    assert stripe.count("product") == 5


def test_a_model_that_failed_is_held_and_the_run_says_so(customers):
    write_results(customers, {"model.shop.customers": "error"})

    held = customers.cli()
    before = customers.stripe.count("customer")
    overridden = customers.cli("run", "--ignore-dbt-results")

    assert held.exit_code == 1
    assert "nothing of `customers` is sent: `customers` failed in dbt's last run" in held.text
    assert before == 0
    assert overridden.exit_code == 0
    assert customers.stripe.count("customer") == 3


def test_results_of_another_run_than_the_manifests_are_told_where_they_hold_something(customers):
    write_results(customers, {"model.shop.customers": "error"}, invocation="another")

    ran = customers.cli()

    assert ran.exit_code == 1
    assert "warning[stale-run-results]" in ran.text


def test_dbt_parse_after_a_good_build_is_nothing_to_warn_of(customers):
    write_results(customers, {"model.shop.customers": "success"}, invocation="another")

    ran = customers.cli()

    assert ran.exit_code == 0
    assert "warning" not in ran.text


def test_a_project_that_changed_since_dbt_read_it_is_told_even_beside_an_error_that_is_mended(customers):
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


def test_a_manifest_that_is_younger_than_every_file_is_told_nothing(customers):
    models = customers.root / "models"
    models.mkdir()
    old = models / "customers.sql"
    old.write_text("select 1")
    os.utime(old, (1_600_000_000, 1_600_000_000))

    ran = customers.cli()

    assert "warning" not in ran.text
