"""What the log in the warehouse costs a run whose state has a million objects."""

from __future__ import annotations

import os
import time

import duckdb
import pytest
from logged import drop, log_in, people

from dbt_stripe_sync import warehouse_log
from dbt_stripe_sync.sandbox import Sandbox

OBJECTS = int(os.environ.get("DBT_STRIPE_SYNC_BENCHMARK_OBJECTS", "1000000"))
pytestmark = [pytest.mark.benchmark_figures, pytest.mark.timeout(1_800)]


@pytest.fixture(params=["duckdb", "postgres"])
def business(request, tmp_path, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", Sandbox.api_key)
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    with Sandbox() as stripe:
        business = log_in(request.param, tmp_path / "shop", stripe, server)
        yield business
        drop(business)


def timed(function):
    took = []

    def run(writer):
        began = time.monotonic()
        result = function(writer)
        took.append(time.monotonic() - began)
        return result

    return run, took


def test_what_the_log_costs(business, monkeypatch, request):
    write, took = timed(warehouse_log._Writer.write)
    monkeypatch.setattr(warehouse_log._Writer, "write", write)
    assert business.cli().exit_code == 0
    with duckdb.connect(str(business.state)) as state:
        columns = [name for (name,) in state.execute("SELECT name FROM pragma_table_info('records')").fetchall()]
        values = {"sync": "'others'", "key": "'k' || n", "stripe_id": "'cus_' || md5(n::VARCHAR)"}
        select = ", ".join(values.get(name, name) for name in columns)
        one = "(SELECT * FROM records WHERE sync = 'customers' LIMIT 1)"
        state.execute(f"INSERT INTO records SELECT {select} FROM {one}, (SELECT range AS n FROM range({OBJECTS}))")
    assert business.cli("log", "write").exit_code == 0
    people(business, (1, "new@example.com"), (2, "b@example.com"), (3, "c@example.com"))
    assert business.cli().exit_code == 0
    assert business.cli().exit_code == 0

    kind = request.node.callspec.params["business"]
    labels = ("first run", f"{OBJECTS:,} new objects", "one changed object", "nothing to do")
    print(f"\n{kind}: " + ", ".join(f"{label} {seconds:.2f} s" for label, seconds in zip(labels, took, strict=True)))
    ((count,),) = business.ask(f'SELECT count(*) FROM "{business.schema}_stripe_sync".objects')
    assert count == OBJECTS + 5
