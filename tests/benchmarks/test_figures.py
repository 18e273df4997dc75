"""Figures, not promises: how long a sync without changes takes, what it holds in memory, how many calls leave.

Run with `pytest -m benchmark_figures`. They assert that the work was done, never how fast.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import adbc_driver_postgresql.dbapi as adbc
import pytest

from dbt_stripe_sync.engine.payload.layout import build_layout
from dbt_stripe_sync.engine.stage.extract import Staged, load_rows
from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.sandbox import Sandbox
from dbt_stripe_sync.state.store import StateIdentity, open_state
from dbt_stripe_sync.stripe_api.gateway import Gateway
from dbt_stripe_sync.stripe_api.rate import RateLimits
from dbt_stripe_sync.wiring import ProjectOptions, load_workload, opened_warehouse

pytestmark = pytest.mark.benchmark_figures

ROWS = int(os.environ.get("DBT_STRIPE_SYNC_BENCHMARK_ROWS", "1000000"))
CALLS = 2_000
MEASURED = """
import resource, sys, time
from pathlib import Path
from dbt_stripe_sync.api import Project
from dbt_stripe_sync.wiring import ProjectOptions
started = time.perf_counter()
options = ProjectOptions(project_dir=Path(sys.argv[1]), profiles_dir=Path(sys.argv[1]), stripe_url=sys.argv[2])
report = Project(options).run()
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(report.counts[0].rows, report.counts[0].same, round(seconds, 2), round(peak))
"""


@pytest.fixture
def large_project(business, postgres):
    """A project on Postgres with a model of a million rows and twelve columns, all synced already."""
    uri = (
        f"postgresql://{postgres['BRIGHTDESK_PG_USER']}:{postgres['BRIGHTDESK_PG_PASSWORD']}@/postgres"
        f"?host={postgres['BRIGHTDESK_PG_HOST']}&port={postgres['BRIGHTDESK_PG_PORT']}"
    )
    with adbc.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS people")
        cursor.execute(
            "CREATE TABLE people AS SELECT i AS id, 'user' || i || '@example.com' AS email, 'Name ' || i AS name, "
            "i % 97 AS seats, (i % 10000) / 100.0 AS credit, md5(i::text) AS a, md5((i + 1)::text) AS b, "
            "timestamp '2026-01-01' + i * interval '1 second' AS since, i % 2 = 0 AS active, 'DE' AS country, "
            f"'City ' || i % 500 AS city, i * 3 AS score FROM generate_series(1, {ROWS}) AS t(i)"
        )
    output = {
        "type": "postgres",
        "host": postgres["BRIGHTDESK_PG_HOST"],
        "port": int(postgres["BRIGHTDESK_PG_PORT"]),
        "user": postgres["BRIGHTDESK_PG_USER"],
        "password": postgres["BRIGHTDESK_PG_PASSWORD"],
        "dbname": "postgres",
        "schema": "public",
    }
    profiles = {"shop": {"target": "dev", "outputs": {"dev": output}}}
    (business.root / "profiles.yml").write_text(json.dumps(profiles))
    fields = {"email": "email", "name": "name", "address.city": "city", "address.country": "country"}
    fields |= {f"metadata.{name}": name for name in ("id", "seats", "credit", "a", "b", "since", "active", "score")}
    business.sync("people", resource="customer", key="id", fields=fields)
    manifest = business.root / "target" / "manifest.json"
    manifest.write_text(
        manifest.read_text()
        .replace('\\"warehouse\\".\\"main\\"', '\\"postgres\\".\\"public\\"')
        .replace('"schema": "main"', '"schema": "public"')
        .replace('"database": "warehouse"', '"database": "postgres"')
    )
    _write_state(business)
    return business


def _write_state(business) -> None:
    """What a first sync of every row would have left behind, without its million calls."""
    workload = load_workload(ProjectOptions(project_dir=business.root, profiles_dir=business.root))
    (sync,) = workload.syncs
    staged = Staged(sync=sync, layout=build_layout(sync), number=1)
    account = asyncio.run(_account(business))
    identity = StateIdentity(project="shop", account=account.id, livemode=account.livemode)
    with (
        opened_warehouse(workload.dbt) as warehouse,
        open_state(workload.state_path, identity=identity, clock=SystemClock()) as state,
    ):
        workspace = Workspace(state.workspace)
        load_rows(workspace, staged, warehouse)
        workspace.execute(
            f"""INSERT INTO records SELECT 'people', "$key", 'customer', 'cus_' || "$key", '{{}}', '', "$hash", "$refs",
            false, false, 'first', now(), now(), NULL, false FROM {staged.raw}"""
        )
        workspace.close()


async def _account(business):
    gateway = Gateway(Sandbox.api_key, business.stripe.url, RateLimits.unlimited(), SystemClock())
    try:
        return await gateway.account()
    finally:
        await gateway.close()


def test_a_sync_of_a_million_rows_without_changes(large_project, benchmark, capsys):
    def sync():
        command = [sys.executable, "-c", MEASURED, str(large_project.root), large_project.stripe.url]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()

    rows, same, seconds, peak = benchmark.pedantic(sync, rounds=3)

    assert int(rows) == int(same) == ROWS
    with capsys.disabled():
        print(f"\n{ROWS:,} rows x 12 columns from Postgres, nothing changed: {seconds} s, peak {peak} MB")


def _cpu_seconds(*arguments, cwd) -> float:
    """User and system time of one command, which says the same on a busy machine as on an idle one."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": ""}
    subprocess.run([sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_parse_of_the_sample_project(sample, dbt_1, capsys):
    """Beside a Python that only imports click, so that runs on different machines can be compared by their ratio."""
    options = ("--target", "duckdb", "--project-dir", str(sample), "--profiles-dir", str(sample))
    subprocess.run([dbt_1, "--quiet", "parse", *options], cwd=sample, check=True)
    parse = ("-m", "dbt_stripe_sync", "parse", *options)
    _cpu_seconds(*parse, cwd=sample)  # compiles what is not compiled yet

    rounds = [(_cpu_seconds(*parse, cwd=sample), _cpu_seconds("-c", "import click", cwd=sample)) for _ in range(10)]

    seconds, floor = (median(column) for column in zip(*rounds, strict=True))
    with capsys.disabled():
        print(f"\nparse of the sample project: {seconds:.2f} s CPU, {seconds / floor:.1f} times `import click`")


def test_calls_per_second_against_the_sandbox(stripe, benchmark, capsys):
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

    answers = benchmark.pedantic(lambda: asyncio.run(create_all()), rounds=1)

    assert all(answer.verdict is Verdict.DONE for answer in answers)
    with capsys.disabled():
        print(f"\n{CALLS / benchmark.stats['mean']:,.0f} calls a second, the sandbox in the same process")
