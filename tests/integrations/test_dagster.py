"""Assets, metadata and checks in a real Dagster, behind the assets of a real dbt project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from business import SAMPLE, as_a_user

dg = pytest.importorskip("dagster", reason="Dagster is not in this environment")
pytestmark = [pytest.mark.orchestrators, pytest.mark.filterwarnings("default")]

from dbt_stripe_sync import ProjectOptions  # noqa: E402 - after the skip
from dbt_stripe_sync.integrations.dagster import CHECK, build_stripe_sync_assets  # noqa: E402 - after the skip
from dbt_stripe_sync.model.errors import SyncError  # noqa: E402 - after the skip


@pytest.fixture
def options(customers):
    return ProjectOptions(project_dir=customers.root, profiles_dir=customers.root, stripe_url=customers.stripe.url)


def key(name):
    return dg.AssetKey(["stripe", name])


def metadata_of(result, name):
    (event,) = (e for e in result.get_asset_materialization_events() if e.asset_key == key(name))
    return {label: value.value for label, value in event.materialization.metadata.items()}


def checks_of(result):
    return {check.asset_key.path[-1]: check for check in result.get_asset_check_evaluations()}


@pytest.mark.usefixtures("priced")
def test_every_sync_is_an_asset_downstream_of_its_model_and_its_parents(options):
    assets = build_stripe_sync_assets(options)

    deps = {k.path[-1]: {dep.path[-1] for dep in assets.asset_deps[k]} for k in assets.keys}
    assert deps == {"customers": {"customers"}, "plans": {"plans"}, "prices": {"prices", "plans"}}
    assert key("plans") in assets.asset_deps[key("prices")]
    assert {check.name for check in assets.check_specs} == {CHECK}


def test_materializing_syncs_and_reports_the_changes(priced, options):
    result = dg.materialize([build_stripe_sync_assets(options)])

    assert result.success
    assert priced.stripe.count("customer") == 3
    assert priced.stripe.count("price") == 1
    found = metadata_of(result, "customers")
    assert found["dagster/row_count"] == 3
    assert found["done_create"] == 3
    assert found["livemode"] is False
    assert Path(found["report"]).exists()
    assert all(check.passed for check in checks_of(result).values())


def test_a_selection_syncs_only_its_assets(priced, options):
    result = dg.materialize([build_stripe_sync_assets(options)], selection=[key("customers")])

    assert result.success
    assert priced.stripe.count("customer") == 3
    assert priced.stripe.count("product") == 0


@pytest.mark.usefixtures("priced")
def test_rejected_rows_fail_the_check_and_not_the_others(options, reject_one):
    reject_one()

    result = dg.materialize([build_stripe_sync_assets(options)], raise_on_error=False)

    checks = checks_of(result)
    assert not checks["customers"].passed
    assert checks["customers"].description == "1 of 1 row is not in Stripe as the model has it"
    assert checks["plans"].passed
    assert metadata_of(result, "customers")["rejected"] == 1


def test_a_held_model_is_not_materialized(priced, options, hold):
    hold()

    result = dg.materialize([build_stripe_sync_assets(options)], raise_on_error=False)

    assert [e.asset_key for e in result.get_asset_materialization_events() if e.asset_key == key("customers")] == []
    assert not checks_of(result)["customers"].passed
    assert "held" in checks_of(result)["customers"].description
    assert priced.stripe.count("customer") == 0
    assert priced.stripe.count("price") == 1


@pytest.mark.usefixtures("priced")
def test_a_run_that_cannot_continue_fails_the_step_with_its_problems(options, monkeypatch):
    assets = build_stripe_sync_assets(options)
    monkeypatch.delenv("STRIPE_API_KEY")

    result = dg.materialize([assets], raise_on_error=False)

    assert not result.success
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    assert "error[no-stripe-key]" in failure.step_failure_data.user_failure_data.description
    assert "hint:" in failure.step_failure_data.user_failure_data.description


def test_a_bad_mapping_is_reported_when_the_assets_are_defined(customers, options):
    customers.sync("customers", resource="custommer", key="id", fields={"email": "email"})

    with pytest.raises(SyncError, match="unknown-resource"):
        build_stripe_sync_assets(options)


def test_the_page_on_orchestrators_works_with_a_real_dbt_project(tmp_path, stripe, monkeypatch):
    """The page's own code: dbt's assets by dagster-dbt, and the syncs behind them, materialized together."""
    from pages import code_of

    project = Path(shutil.copytree(SAMPLE, tmp_path / "shop", ignore=shutil.ignore_patterns("target", "logs")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBT_PROFILES_DIR", str(project))
    monkeypatch.setenv("STRIPE_API_BASE", stripe.url)
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    dbt = Path(sys.executable).parent / "dbt"
    monkeypatch.setenv("PATH", f"{dbt.parent}{os.pathsep}{os.environ['PATH']}")
    parsed = subprocess.run(
        [str(dbt), "parse", "--project-dir", str(project)], env=as_a_user({}), capture_output=True, text=True
    )
    assert parsed.returncode == 0, parsed.stdout
    names: dict = {}

    # Not with this file's own `from __future__`, which a user's file need not have.
    exec(compile(code_of("Dagster"), "page.py", "exec", dont_inherit=True), names)  # noqa: S102 - the page's own code
    result = dg.materialize([names["dbt_models"], names["stripe"]], resources={"dbt": names["dbt"]})

    assert result.success
    assert stripe.count("customer") > 0
    assert {check.passed for check in checks_of(result).values() if check.check_name == CHECK} == {True}
    synced = {sync.path[-1] for sync in names["stripe"].keys}
    behind = {dep for k in names["stripe"].keys for dep in names["stripe"].asset_deps[k]}
    assert behind & set(names["dbt_models"].keys)
    assert "stripe_customers" in synced
