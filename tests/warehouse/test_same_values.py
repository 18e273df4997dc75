"""The same value is the same parameter, whichever reader brings it and wherever it is read."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from contextlib import closing
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warehouses import ephemeral

from dbt_stripe_sync.engine.payload.layout import Part
from dbt_stripe_sync.engine.payload.templates import render_template
from dbt_stripe_sync.engine.payload.values import BadValueError, as_text
from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.nodes import NUMBER_FIELD
from dbt_stripe_sync.model.sql import key_text

MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2900, 1, 1), timezones=st.just(timezone(timedelta(hours=-3))))
VALUES = st.fixed_dictionaries(
    {
        "at": MOMENTS.map(lambda moment: f"TIMESTAMPTZ '{moment.isoformat()}'"),
        "wall": st.datetimes(datetime(1900, 1, 1), datetime(2900, 1, 1)).map(lambda moment: f"TIMESTAMP '{moment}'"),
        "day": st.dates(date(1900, 1, 1), date(2900, 1, 1)).map(lambda day: f"DATE '{day}'"),
        "ratio": st.floats(width=64).map(lambda number: f"CAST('{number!r}' AS FLOAT8)"),
        "small": st.floats(width=32, allow_subnormal=False).map(lambda number: f"CAST('{number!r}' AS FLOAT4)"),
        "amount": st.decimals(-(10**9), 10**9, places=2).map(lambda number: f"CAST('{number}' AS DECIMAL(12, 2))"),
        "clock": st.times().map(lambda clock: f"TIME '{clock}'"),
        "zoned": st.tuples(st.times(), st.integers(-12, 12)).map(lambda z: f"CAST('{z[0]}{z[1]:+03}:00' AS TIMETZ)"),
        "span": st.tuples(st.integers(-500, 500), st.integers(-500, 500), st.integers(-(10**11), 10**11)).map(
            lambda s: f"INTERVAL '{s[0]} months {s[1]} days {s[2]} microseconds'"
        ),
        "flag": st.sampled_from(["TRUE", "FALSE"]),
    }
)


def texts_of(warehouse, sql, names):
    """What each column is in metadata, in a template, and in a key; or why it can be none."""
    with duckdb.connect() as connection:
        workspace = Workspace(connection)
        reader = warehouse.rows(ephemeral(sql, *names))
        part = Part(numbers={f.name for f in reader.schema if NUMBER_FIELD.items() <= (f.metadata or {}).items()})
        workspace.fill("CREATE TABLE work.rows AS SELECT * FROM incoming", lambda: reader)
        ((row,),) = workspace.batches("SELECT * FROM work.rows")
        keys = {name: workspace.one(f"SELECT {key_text([name], 'r')} FROM work.rows AS r")[0] for name in names}
    return {name: (_text(part.cell(row, name)), _rendered(part.cell(row, name)), keys[name]) for name in names}


def _text(cell):
    try:
        return as_text(cell)
    except BadValueError as bad:
        return bad.reason


def _rendered(cell):
    try:
        return render_template("[[ v ]]", {"v": cell})
    except BadValueError as bad:
        return bad.reason


@pytest.fixture
def readers(duckdb_file, postgres_server):
    """DuckDB and PostgreSQL, on a machine and in a database far from UTC."""
    duckdb_file.execute("SELECT 1")
    postgres_server.execute("ALTER DATABASE postgres SET timezone = 'America/New_York'")
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    with closing(duckdb_file.open()) as of_duckdb, closing(postgres_server.open()) as of_postgres:
        yield of_duckdb, of_postgres
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()
    postgres_server.execute("ALTER DATABASE postgres RESET timezone")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=VALUES)
def test_a_value_has_the_same_text_from_duckdb_and_postgres(readers, values):
    sql = "SELECT " + ", ".join(f"{value} AS {name}" for name, value in values.items())
    of_duckdb, of_postgres = readers

    first, second = (texts_of(warehouse, sql, list(values)) for warehouse in (of_duckdb, of_postgres))

    assert first == second


@pytest.fixture
def of_redshift(readers, redshift):
    assert len(readers) == 2  # opened before, so that the database's zone is not UTC here either
    return redshift()


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=VALUES)
def test_a_value_has_the_same_text_through_redshifts_connector(readers, of_redshift, values):
    # Redshift has two kinds of interval, of months and of days to seconds, and none that is both.
    names = [name for name in values if name != "span"]
    sql = "SELECT " + ", ".join(f"{values[name]} AS {name}" for name in names)

    assert texts_of(of_redshift, sql, names) == texts_of(readers[1], sql, names)


@pytest.fixture(params=["duckdb", "postgres"])
def other_readers(request, tmp_path, readers, through_dbt):
    """dbt's own adapter for a database, beside our reader of it."""
    of_duckdb, of_postgres = readers
    if request.param == "duckdb":
        return through_dbt({"type": "duckdb", "path": str(tmp_path / "other.duckdb"), "schema": "main"}), of_duckdb
    return through_dbt(request.getfixturevalue("postgres_server").target(threads=1)), of_postgres


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=VALUES)
def test_a_value_has_the_same_text_through_dbts_adapter(other_readers, values):
    # Their drivers make days of months, and a double of a 32-bit float.
    values = {name: value for name, value in values.items() if name not in {"span", "small"}}
    sql = "SELECT " + ", ".join(f"{value} AS {name}" for name, value in values.items())

    other, ours = (texts_of(warehouse, sql, list(values)) for warehouse in other_readers)

    assert other == ours


def test_a_time_with_a_zone_is_utc_everywhere(readers):
    sql = "SELECT TIMESTAMPTZ '2027-03-27 21:30:00-04' AS at, CAST(TIMESTAMPTZ '2027-03-27 21:30:00-04' AS DATE) AS day"

    for warehouse in readers:
        assert texts_of(warehouse, sql, ["at", "day"]) == {
            "at": ("2027-03-28T01:30:00+00:00", "2027-03-28 01:30:00+00:00", "2027-03-28 01:30:00+00"),
            "day": ("2027-03-28", "2027-03-28", "2027-03-28"),
        }


@pytest.mark.parametrize("kind", ["NUMERIC", "FLOAT8"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_postgres_infinity_and_nan_are_rejected_like_duckdbs(readers, kind, value):
    reason = "is not finite, but Stripe expects text"

    text, rendered, _ = texts_of(readers[1], f"SELECT CAST('{value}' AS {kind}) AS v", ["v"])["v"]

    assert (text, rendered) == (reason, reason)


def test_negative_zero_is_zero(readers):
    for warehouse in readers:
        assert texts_of(warehouse, "SELECT CAST('-0' AS FLOAT8) AS v", ["v"])["v"][0] == "0"


def test_a_numeric_without_a_scale_is_a_number_in_a_template(readers):
    reader = readers[1].rows(ephemeral("SELECT 29.5::numeric / 2 AS half", "half"))

    assert NUMBER_FIELD.items() <= reader.schema.field("half").metadata.items()
    part = Part(numbers={"half"})
    assert render_template("[[ '%.2f' | format(v) ]]", {"v": part.cell({"half": "14.75"}, "half")}) == "14.75"
    assert part.cell({"half": "14.75"}, "half") == Decimal("14.75")
    assert math.isnan(part.cell({"half": "NaN"}, "half"))


@pytest.fixture
def zoned(business):
    business.table("c", "SELECT TIMESTAMPTZ '2027-03-28 01:30:00+00' AS since, 'Ann' AS name")
    template = {"template": "since [[ since ]]"}
    fields = {"name": "name", "metadata.since": "since", "description": template}
    business.sync("c", resource="customer", key="since", fields=fields)

    def run(zone, *arguments):
        command = [sys.executable, "-m", "dbt_stripe_sync", *arguments, "--project-dir", str(business.root)]
        environment = {**os.environ, "TZ": zone, "STRIPE_API_BASE": business.stripe.url}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_a_record_written_in_new_york_is_unchanged_in_tokyo(zoned, stripe):
    shown = {zone: zoned(zone, "show", "c").stdout for zone in ("America/New_York", "Asia/Tokyo")}
    zoned("America/New_York", "run")
    again = zoned("Asia/Tokyo", "run", "--full-refresh")

    assert shown["America/New_York"] == shown["Asia/Tokyo"]
    assert "since: 2027-03-28T01:30:00+00:00" in shown["Asia/Tokyo"]
    assert again.returncode == 0, again.stderr
    assert stripe.count("customer") == 1
