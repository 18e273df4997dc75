"""Benchmarks: what a sync costs compared with only reading its rows.

Run with `pytest -m benchmark_figures -n 0`, which writes docs/performance.md. They assert that the work was done, never
how fast.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from statistics import median

import pytest
from figures import ROUNDS
from large import measure

from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.sandbox import Sandbox
from dbt_stripe_sync.stripe_api.gateway import Gateway
from dbt_stripe_sync.stripe_api.rate import RateLimits

pytestmark = [pytest.mark.benchmark_figures, pytest.mark.timeout(7200)]

CALLS = 2_000
MODELS, COLUMNS, TESTS, SQL_LINES = 12_500, 10, 3, 10
# What dbt writes of each, whatever a project says of it.
CONFIG = {
    "enabled": True,
    "alias": None,
    "schema": None,
    "database": None,
    "tags": [],
    "group": None,
    "lookback": 1,
    "incremental_strategy": None,
    "persist_docs": {},
    "post-hook": [],
    "pre-hook": [],
    "quoting": {},
    "column_types": {},
    "full_refresh": None,
    "unique_key": None,
    "on_schema_change": "ignore",
    "grants": {},
    "docs": {"show": True, "node_color": None},
    "contract": {"enforced": False, "alias_types": True},
}
COLUMN = {
    "description": "What this column of the model holds, in words of the field. " * 2,
    "meta": {},
    "data_type": None,
    "constraints": [],
    "quote": None,
    "config": {"meta": {}, "tags": []},
    "tags": [],
    "granularity": None,
}
TEST = {
    "name": "not_null",
    "resource_type": "test",
    "package_name": "shop",
    "original_file_path": "models/schema.yml",
    "path": "not_null.sql",
    "fqn": ["shop", "not_null"],
    "tags": [],
    "columns": {},
    "meta": {},
    "refs": [],
    "config": CONFIG | {"severity": "ERROR", "fail_calc": "count(*)", "warn_if": "!= 0", "error_if": "!= 0"},
    "test_metadata": {"name": "not_null", "kwargs": {"column_name": "c1"}, "namespace": None},
    "raw_code": "{{ test_not_null(**_dbt_generic_test_kwargs) }}",
    "compiled_code": "select 1 where false",
}
# A first plan, and one after the mapping changed, handle each row in Python: tables with more rows leave them out.
MOST_IN_PYTHON = int(os.environ.get("DBT_STRIPE_SYNC_BENCHMARK_PYTHON", "1000000"))


def test_rows_that_are_synced_already(large, figures, request):
    warehouse = "PostgreSQL" if "PostgreSQL" in request.node.callspec.id else "DuckDB"
    large.write_state()

    def compare(what, *command, rounds=ROUNDS):
        return figures.compare(f"{what}, {warehouse}", large.rows, rounds, lambda: large.run(*command), large.floor)

    large.run("run")
    (out, *_) = compare("no-op run", "run")
    assert f"{large.rows:,} unchanged" in " ".join(out.split())

    if large.rows <= MOST_IN_PYTHON:
        large.sync_again(**{"metadata.seats": {"column": "seats", "as": "text"}})
        (out, *_) = compare("mapping changed, same parameters", "plan", rounds=1)
        assert "0 changes" in out or "No changes" in out or f"{large.rows:,} unchanged" in out
        large.sync_again()

    large.change(1000)
    (out, *_) = compare("0.1 % changed, plan", "plan")
    assert f"{large.rows // 1000:,} change" in out
    large.change(100)
    (out, *_) = compare("1 % changed, plan", "plan")
    assert f"{large.rows // 100:,} changes" in out


def test_rows_that_the_warehouse_compares(large, figures, request):
    """Beside the same with `diff: local`, above. The first run writes the copy of the hashes."""
    warehouse = "PostgreSQL" if "PostgreSQL" in request.node.callspec.id else "DuckDB"
    large.business.set(diff="warehouse")
    large.write_state()
    large.run("run")
    large.execute("ANALYZE")

    def compare(what, *command):
        what = f"`diff: warehouse`, {what}, {warehouse}"
        return figures.compare(what, large.rows, ROUNDS, lambda: large.run(*command), large.floor)

    (out, *_) = compare("no-op run", "run")
    assert f"{large.rows:,} unchanged" in " ".join(out.split())
    assert "every row is read" not in out

    large.change(1000)
    (out, *_) = compare("0.1 % changed, plan", "plan")
    assert f"{large.rows // 1000:,} change" in out


def test_a_first_plan(large, figures, request, tmp_path):
    warehouse = "PostgreSQL" if "PostgreSQL" in request.node.callspec.id else "DuckDB"
    if large.rows > MOST_IN_PYTHON:
        pytest.skip("more rows than a first plan is to be measured with")

    def plan():
        return large.run("plan", "--out", str(tmp_path / "first.plan"))

    (out,) = figures.compare(f"first plan, {warehouse}", large.rows, 1, plan, large.floor)
    assert f"{large.rows:,} changes" in out


def test_start_up(sample, dbt_1, figures):
    """Beside a Python that only imports click, so that runs on different machines can be compared by their ratio."""
    options = ("--target", "duckdb", "--project-dir", str(sample), "--profiles-dir", str(sample))
    subprocess.run([dbt_1, "--quiet", "parse", *options], cwd=sample, check=True)
    commands = {"--help": ("--help",), "parse of the sample project": ("parse", *options)}
    for what, command in commands.items():
        own = (sys.executable, "-m", "dbt_stripe_sync", *command)
        measure(own, sample)  # compiles what is not compiled yet
        pairs = [
            (measure(own, sample).cpu, measure((sys.executable, "-c", "import click"), sample).cpu) for _ in range(10)
        ]
        seconds, floor = (median(column) for column in zip(*pairs, strict=True))
        figures.say(f"`{what}`: {seconds:.2f} s of CPU, {seconds / floor:.1f} times `import click`")


def test_calls_per_second(stripe, figures):
    async def create_all():
        gateway = Gateway(Sandbox.api_key, stripe.url, RateLimits.unlimited(), SystemClock())
        calls = [
            Call(resource="customer", operation="create", params={"name": f"N{i}"}, idempotency_key=f"k{i}")
            for i in range(CALLS)
        ]
        try:
            return await asyncio.gather(*(gateway.send(call) for call in calls))
        finally:
            await gateway.close()

    began = time.perf_counter()
    answers = asyncio.run(create_all())
    seconds = time.perf_counter() - began

    assert all(answer.verdict is Verdict.DONE for answer in answers)
    figures.say(f"{CALLS / seconds:,.0f} calls a second without a limit, the sandbox in the same process")


def model_with_tests(node, name):
    """A model with as much beside its SQL as dbt writes, and its tests."""
    columns = {f"c{number}": {**COLUMN, "name": f"c{number}"} for number in range(COLUMNS)}
    unique_id = f"model.shop.{name}"
    sql = "select a.id, b.name from some_schema.some_table a left join others b on a.id = b.id\n" * SQL_LINES
    model = {
        "unique_id": unique_id,
        "name": name,
        "alias": name,
        "fqn": ["shop", name],
        "config": CONFIG | {"materialized": "table", "meta": {}},
        "columns": columns,
        "raw_code": sql,
        "compiled_code": sql,
    }
    tests = {f"test.shop.not_null_{name}_c{number}.1": TEST | {"attached_node": unique_id} for number in range(TESTS)}
    return {unique_id: node | model} | tests


def test_a_manifest_of_thousands_of_models(business, figures):
    business.rows("customers", (1, "a@example.com"), columns="id int, email text")
    business.sync("customers", resource="customer", key="id", fields={"email": "email"})
    path = business.root / "target" / "manifest.json"
    manifest = json.loads(path.read_text())
    (node,) = manifest["nodes"].values()
    for number in range(MODELS - 1):
        manifest["nodes"] |= model_with_tests(node, f"m{number}")
    path.write_text(json.dumps(manifest))
    root = str(business.root)
    own = (sys.executable, "-m", "dbt_stripe_sync", "ls", "--project-dir", root, "--profiles-dir", root)
    script = "import orjson, sys; orjson.loads(open(sys.argv[1], 'rb').read())"

    pairs = [
        (measure(own, business.root), measure((sys.executable, "-c", script, str(path)), business.root))
        for _ in range(ROUNDS)
    ]

    assert "customers" in pairs[0][0].out
    ours, floor = (median(one.cpu for one in side) for side in zip(*pairs, strict=True))
    peak = max(one.peak for one, _ in pairs)
    megabytes = path.stat().st_size >> 20
    figures.say(
        f"`ls` with a manifest of {len(manifest['nodes']):,} nodes and {megabytes} MB: {ours:.2f} s of CPU and {peak} "
        f"MB of memory, {ours / floor:.1f} times parsing it with orjson"
    )
