"""The dbt source that `log source` writes: a real dbt parses it, and a model joins Stripe's ids to rows."""

from __future__ import annotations

import json
from contextlib import closing

import duckdb
import pytest
from live_project import new_project
from msgspec.structs import replace

LOG = "vars: {stripe_sync: {account_per_second: 100000, endpoint_per_second: 100000, log: warehouse}}"
CUSTOMERS = """
{{ config(meta={'stripe_sync': {'resource': 'customer', 'key': 'id', 'fields': {'email': 'email'}}}) }}
select 1 as id, 'a@example.com' as email union all select 2, 'b@example.com'
"""
BILLED = """
select c.id, o.stripe_id
from {{ ref('customers') }} as c
left join {{ source('stripe_sync', 'objects') }} as o on o.sync = 'customers' and o.key = cast(c.id as varchar)
"""
DOCUMENTED = {"objects", "runs", "changes", "problems"}


@pytest.fixture
def club(tmp_path, dbt_1, stripe):
    project = new_project(tmp_path / "club", dbt_1, stripe)
    text = (project.root / "dbt_project.yml").read_text()
    before = next(line for line in text.splitlines() if line.startswith("vars:"))
    project.file("dbt_project.yml", text.replace(before, LOG))
    project.file("models/customers.sql", CUSTOMERS)
    return project


def build_and_join(project, *target):
    """As a user would: the source first, then `dbt build` and a sync, and again."""
    project.dbt("parse", *target)
    assert project.cli("log", "source", *target).exit_code == 0
    assert project.cli("log", "write", *target).exit_code == 0
    project.file("models/billed.sql", BILLED)
    project.dbt("build", *target)
    assert project.cli("run", *target).exit_code == 0
    project.dbt("build", *target)
    return json.loads((project.root / "target" / "manifest.json").read_text())


def test_a_model_joins_stripe_ids_to_rows_on_duckdb(club):
    manifest = build_and_join(club)

    sources = {source["name"]: source for source in manifest["sources"].values()}
    assert set(sources) == DOCUMENTED
    assert {source["schema"] for source in sources.values()} == {"main_stripe_sync"}
    with closing(duckdb.connect(str(club.root / "dev.duckdb"), read_only=True)) as warehouse:
        rows = warehouse.execute("SELECT id, stripe_id FROM billed ORDER BY id").fetchall()
        for name, source in sources.items():
            query = "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'main_stripe_sync' AND table_name = ?"
            assert {column for (column,) in warehouse.execute(query, [name]).fetchall()} == set(source["columns"])
    assert [id_ for id_, _ in rows] == [1, 2]
    assert {stripe_id for _, stripe_id in rows} == {customer["id"] for customer in club.stripe.objects("customer")}


@pytest.mark.slow
def test_a_model_joins_stripe_ids_to_rows_on_postgres(club, postgres):
    from adbc_driver_postgresql import dbapi

    named = {name.removeprefix("BRIGHTDESK_PG_").lower(): value for name, value in postgres.items()}
    output = {
        "type": "postgres",
        **named,
        "port": int(named["port"]),
        "dbname": "postgres",
        "schema": "club",
        "threads": 1,
    }
    club.file("profiles.yml", json.dumps({"club": {"target": "dev", "outputs": {"dev": output}}}))

    build_and_join(club)

    settings = " ".join(f"{name}='{named[name]}'" for name in ("host", "port", "user", "password"))
    with dbapi.connect(f"{settings} dbname=postgres") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, stripe_id FROM club.billed ORDER BY id")
        rows = cursor.fetchall()
        cursor.execute("DROP SCHEMA club, club_stripe_sync CASCADE")
        connection.commit()
    assert {stripe_id for _, stripe_id in rows} == {customer["id"] for customer in club.stripe.objects("customer")}


@pytest.mark.dbt2
def test_dbt_2_reads_the_source_too(club, dbt_2):
    build_and_join(replace(club, program=dbt_2))


@pytest.mark.telling
def test_the_source_is_written_once_and_never_overwrites_another_file(club):
    club.dbt("parse")

    first, second = club.cli("log", "source"), club.cli("log", "source")
    club.file("models/stripe_sync_source.yml", "version: 2\n")
    third = club.cli("log", "source")

    assert ("written." in first.text, "unchanged." in second.text) == (True, True)
    assert (third.exit_code, "error[file-exists]" in third.text) == (2, True)
    assert club.cli("log", "source", "--out", str(club.root / "models" / "other.yml")).exit_code == 0
