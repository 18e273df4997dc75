"""The sample project, built by the real dbt, from DuckDB and from Postgres: the same plan whichever dbt built it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from business import SAMPLE, build_with_dbt, run_cli

# dbt builds the sample for each of them.
pytestmark = pytest.mark.slow


SCHEMA = Path("models/stripe/schema.yml")


def copy_of(sample: Path, folder: Path) -> Path:
    return Path(shutil.copytree(sample, folder))


def plan_of(project: Path, target: str, stripe) -> list[dict]:
    ran = run_cli(
        *("plan", "--format", "json", "--show-values", "--target", target, "--stripe-url", stripe.url),
        *("--project-dir", str(project), "--profiles-dir", str(project), "--state-path", str(project / "state.duckdb")),
    )
    assert ran.exit_code == 0, ran.err
    changes: list[dict] = json.loads(ran.out)["changes"]
    return changes


@pytest.fixture(scope="session")
def built_on_duckdb(tmp_path_factory, dbt_1):
    """The sample project, built by dbt 1.x in DuckDB; copy it before changing it."""
    project = Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("dbt1") / "brightdesk"))
    build_with_dbt(dbt_1, project, "duckdb", {})
    return project


@pytest.fixture
def in_project(monkeypatch):
    """dbt resolves the warehouse's relative path from where it runs."""
    return monkeypatch.chdir


def test_every_row_of_the_sample_becomes_a_change(built_on_duckdb, tmp_path, stripe, in_project):
    project = copy_of(built_on_duckdb, tmp_path / "brightdesk")
    in_project(project)

    plan = plan_of(project, "duckdb", stripe)

    assert {change["action"] for change in plan} == {"create"}
    counts = {sync: sum(change["sync"] == sync for change in plan) for sync in {change["sync"] for change in plan}}
    assert counts["stripe_customers"] == 11
    assert counts["stripe_products"] == 5
    assert counts["stripe_prices"] == 13


def test_money_of_every_currency_arrives_exactly(built_on_duckdb, tmp_path, stripe, in_project):
    project = copy_of(built_on_duckdb, tmp_path / "brightdesk")
    in_project(project)

    run_cli(
        *("run", "--target", "duckdb", "--stripe-url", stripe.url, "--select", "stripe_prices stripe_products"),
        *("--project-dir", str(project), "--profiles-dir", str(project)),
    )

    amounts = {(p["currency"], p["unit_amount"]) for p in stripe.objects("price")}
    assert {("usd", 2950), ("jpy", 4200), ("kwd", 138500), ("eur", 2750)} <= amounts


def test_postgres_gives_the_same_plan_as_duckdb(built_on_duckdb, tmp_path, stripe, postgres, dbt_1, monkeypatch):
    duckdb_project = copy_of(built_on_duckdb, tmp_path / "one")
    postgres_project = copy_of(SAMPLE, tmp_path / "two")
    build_with_dbt(dbt_1, postgres_project, "postgres", postgres)
    for name, value in postgres.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(duckdb_project)

    one = plan_of(duckdb_project, "duckdb", stripe)
    two = plan_of(postgres_project, "postgres", stripe)

    assert one == two


@pytest.mark.dbt2
@pytest.mark.parametrize("target", ["duckdb", "postgres"])
def test_dbt_2_gives_the_same_plan_as_dbt_1(target, tmp_path, stripe, tcp_postgres, dbt_1, dbt_2, monkeypatch):
    first = copy_of(SAMPLE, tmp_path / "one")
    second = copy_of(SAMPLE, tmp_path / "two")
    environment = {**tcp_postgres, "DBT_ALLOW_EXPERIMENTAL_ADAPTERS": "true"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    build_with_dbt(dbt_1, first, target, environment)
    monkeypatch.chdir(first)
    one = plan_of(first, target, stripe)
    build_with_dbt(dbt_2, second, target, environment)
    monkeypatch.chdir(second)
    two = plan_of(second, target, stripe)

    assert one == two
    assert len(one) > 0
