"""Which reader a type of profile gets, and what to install if it is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from dbt_stripe_sync.model.errors import WarehouseError
from dbt_stripe_sync.warehouse import AdapterRequest, open_warehouse, registry


@pytest.fixture
def without(monkeypatch):
    def hide(*modules):
        monkeypatch.setattr(registry, "find_spec", lambda name: None if name.startswith(modules) else find_spec(name))

    return hide


@pytest.mark.parametrize(
    ("kind", "driver"),
    [
        ("snowflake", "adbc_driver_snowflake"),
        ("bigquery", "adbc_driver_bigquery"),
        ("databricks", "databricks.sql"),
        ("redshift", "redshift_connector"),
    ],
)
def test_a_missing_driver_is_reported_with_the_extra_to_install(without, tmp_path, kind, driver):
    without(driver)

    with pytest.raises(WarehouseError) as caught:
        open_warehouse({"type": kind}, project_root=tmp_path, adapter=None)

    (problem,) = caught.value.problems
    assert problem.code == "driver-missing"
    assert problem.summary == f"the driver for {kind}, `{driver}`, is not installed"
    assert problem.hint == f'pip install "dbt-stripe-sync[{kind}]"'


def test_without_dbt_an_unknown_type_lists_those_that_work_without_it(without, tmp_path):
    without("dbt")

    with pytest.raises(WarehouseError) as caught:
        open_warehouse(
            {"type": "trino"},
            project_root=tmp_path,
            adapter=AdapterRequest(project_dir=tmp_path, profiles_dir=tmp_path),
        )

    (problem,) = caught.value.problems
    assert problem.code == "no-reader"
    assert problem.summary == (
        "a profile of type `trino` can be read only through dbt 1.x's adapter, and dbt 1.x is not installed here"
    )
    assert problem.hint == (
        "bigquery, databricks, duckdb, postgres, redshift, snowflake need no dbt; for `trino`, run "
        "`pip install 'dbt-core<2' dbt-trino` in the environment of dbt-stripe-sync"
    )


@pytest.mark.parametrize(("kind", "package"), [("trino", "dbt-trino"), ("mariadb", "dbt-mysql")])
def test_a_missing_adapter_is_reported_with_its_package(tmp_path, kind, package):
    pytest.importorskip("dbt.config.runtime")

    with pytest.raises(WarehouseError) as caught:
        open_warehouse(
            {"type": kind, "host": "h"},
            project_root=tmp_path,
            adapter=AdapterRequest(project_dir=tmp_path, profiles_dir=tmp_path),
        )

    (problem,) = caught.value.problems
    assert problem.code == "no-reader"
    assert problem.summary == f"dbt's adapter for a profile of type `{kind}` is not installed"
    assert problem.hint == f"pip install {package}"


def test_neither_dbt_nor_a_driver_is_imported_before_it_is_needed():
    code = (
        "import sys, dbt_stripe_sync.warehouse; "
        "print([n for n in sys.modules if n.split('.')[0] in {'dbt', 'duckdb', 'pyarrow', 'adbc_driver_postgresql'}])"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
