"""docs/warehouse-log.md as a newcomer follows it: each of its blocks is run."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing

import duckdb
import pytest
import yaml
from doc_blocks import all_blocks
from live_project import new_project

PAGE = [block.text for block in all_blocks("warehouse-log.md")]
SETTING, SET_UP, MODEL, JOINS, SCHEMA, TAKE_OVER, GRANT, GRANT_SCHEMA, CATCH_UP = PAGE
CUSTOMERS = """
{{ config(meta={'stripe_sync': {'name': 'customers', 'resource': 'customer', 'key': 'id',
                                'fields': {'email': 'email'}}}) }}
select 1 as id, 'a@example.com' as email union all select 2, 'b@example.com'
"""


def commands(block):
    return [line.split()[1:] for line in block.splitlines() if line.startswith("dbt-stripe-sync ")]


def settings(block):
    return yaml.safe_load(block)["vars"]["stripe_sync"]


@pytest.mark.slow
def test_the_page_works_from_setting_to_model(tmp_path, dbt_1, stripe):
    project = new_project(tmp_path / "club", dbt_1, stripe)
    written = yaml.safe_load((project.root / "dbt_project.yml").read_text())
    written["vars"]["stripe_sync"] |= settings(SETTING)
    project.file("dbt_project.yml", json.dumps(written))
    project.file("models/customers.sql", CUSTOMERS)
    project.dbt("parse")

    for command in commands(SET_UP):
        assert project.cli(*command).exit_code == 0
    project.file("models/billed.sql", MODEL)
    for _ in range(2):
        project.dbt("build")
        assert project.cli("run").exit_code == 0
    for command in commands(CATCH_UP):
        assert "added 0 runs" in project.cli(*command).text

    with closing(duckdb.connect(str(project.root / "dev.duckdb"), read_only=True)) as warehouse:
        rows = warehouse.execute("SELECT id, stripe_id FROM billed ORDER BY id").fetchall()
    assert [row for row, _ in rows] == [1, 2]
    assert {stripe_id for _, stripe_id in rows} == {customer["id"] for customer in stripe.objects("customer")}


def test_rows_join_on_several_columns_as_the_page_says(logged):
    logged.rows("prices", ("pro", 1, "Pro"), ("pro", 12, "Pro a year"), columns="plan text, term int, name text")
    logged.sync("prices", resource="product", key=["plan", "term"], fields={"name": "name"})
    logged.cli()
    named = dict(re.findall(r"-- (\w+)\n(on .+)\n", JOINS))
    condition = named["DuckDB" if logged.profile["type"] == "duckdb" else "PostgreSQL"]

    rows = logged.ask(
        f'SELECT p.term, o.stripe_id FROM prices p JOIN "{logged.schema}_stripe_sync".objects o {condition}'
    )

    assert sorted(term for term, _ in rows) == [1, 12]


def test_the_log_goes_to_the_schema_that_the_page_names(logged):
    logged.set(**settings(SCHEMA))

    logged.cli()

    assert len(logged.ask("SELECT key FROM billing_log.objects")) == 5


def test_after_a_lost_state_the_log_continues_as_the_page_says(logged):
    logged.cli()
    shutil.rmtree(logged.root / ".stripe_sync")
    assert logged.cli("state", "rebuild").exit_code == 0

    for command in commands(TAKE_OVER):
        assert logged.cli(*command).exit_code == 0
    assert "warning" not in logged.cli().text

    assert [len(logged.log(table)) for table in ("objects", "runs")] == [5, 2]


@pytest.mark.parametrize("grants", [GRANT, GRANT_SCHEMA], ids=["makes the schema", "is given one"])
def test_the_grants_on_the_page_are_enough(on_postgres, grants):
    shop = on_postgres
    shop.do(
        "DROP ROLE IF EXISTS dbt",
        "CREATE ROLE dbt LOGIN PASSWORD 'x'",
        "GRANT USAGE ON SCHEMA public TO dbt",
        "GRANT SELECT ON customers, plans TO dbt",
        "REVOKE ALL ON DATABASE shop FROM PUBLIC",
        "GRANT CONNECT ON DATABASE shop TO dbt",
    )
    shop.write_profile({**shop.profile, "user": "dbt", "password": "x"})
    try:
        refused = shop.cli()
        assert (refused.exit_code, refused.text.count("warning[log-not-written]")) == (0, 1)
        assert "PostgreSQL does not let `dbt` write the log: permission denied for database shop" in refused.text
        assert "docs/warehouse-log.md" in refused.text

        shop.do(*(statement for statement in grants.split(";") if statement.strip()))
        assert "warning" not in shop.cli().text
        assert [len(shop.log(table)) for table in ("runs", "changes", "objects")] == [2, 5, 5]
    finally:
        shop.do("DROP OWNED BY dbt CASCADE", "DROP ROLE dbt")
