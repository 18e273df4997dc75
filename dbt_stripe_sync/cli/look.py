"""The read-only commands: parse, ls, show, debug, fields."""

from __future__ import annotations

import click
import orjson

from dbt_stripe_sync.api import Project
from dbt_stripe_sync.cli.completing import complete_resource, complete_sync
from dbt_stripe_sync.cli.options import COUNT, with_project
from dbt_stripe_sync.cli.screen import Screen, wants_color
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Severity
from dbt_stripe_sync.report import tables
from dbt_stripe_sync.report.json_values import json_problem
from dbt_stripe_sync.report.lines import wrap

MARKS = {True: "ok  ", False: "FAIL", None: "skip"}
OUTPUT = click.option("--output", type=click.Choice(["text", "json"]), help="Output format [default: text]")


@click.command()
@with_project
@OUTPUT
def parse(project: Project, screen: Screen, *, output: str | None) -> int:
    """Check every sync against Stripe's parameters.

    Needs no key and no warehouse. If the warehouse is reachable, it also checks that the columns exist.
    """
    found = project.check()
    count = len(project.workload.syncs)
    if output == "json":
        document = {"syncs": [sync.name for sync in project.workload.syncs], "problems": [*map(json_problem, found)]}
        screen.lines([orjson.dumps(document).decode()])
        return 1 if any(problem.severity is Severity.ERROR for problem in found) else 0
    screen.problems(found)
    screen.separate(found)
    # Problems raise; only warnings are left here.
    warned = f", with {counted(len(found), 'warning')}" if found else ""
    screen.say([f"{count:,} {'sync is' if count == 1 else 'syncs are'} well formed{warned}."])
    return 1 if any(problem.severity is Severity.ERROR for problem in found) else 0


@click.command()
@with_project
@OUTPUT
def ls(project: Project, screen: Screen, *, output: str | None) -> int:
    """List the syncs in the order in which they run."""
    workload = project.workload
    screen.problems(workload.warnings)
    rows = [
        {
            "sync": sync.name,
            "model": sync.model.label,
            "resource": sync.resource,
            "mode": sync.mode.value,
            "on_removed": sync.on_removed.value,
            "after": list(sync.depends_on),
            "file": sync.model.file,
        }
        for sync in workload.syncs
    ]
    if screen.as_json(output):
        screen.lines(orjson.dumps(row).decode() for row in rows)
    else:
        screen.lines(tables.render_table(("sync", "model", "resource", "mode", "after"), rows, width=screen.width))
    return 0


@click.command()
@with_project
@click.argument("sync", shell_complete=complete_sync)
@click.option("--limit", type=COUNT, default=5, show_default=True, help="Number of rows to show.")
@OUTPUT
def show(project: Project, screen: Screen, *, sync: str, limit: int, output: str | None) -> int:
    """Show rows of SYNC with the exact parameters that they would send."""
    preview = project.show(sync, limit=limit)
    if screen.as_json(output):
        screen.lines(tables.render_preview_json(row.key, row.params, row.problems) for row in preview.rows)
    else:
        for row in preview.rows:
            screen.lines(tables.render_params(f"{', '.join(preview.sync.key)}={row.key}", row.params))
            screen.problems(row.problems)
        if not preview.rows:
            screen.lines([f"{preview.sync.model.name} has no rows."])
    return 1 if any(row.problems for row in preview.rows) else 0


@click.command()
@with_project
@OUTPUT
def debug(project: Project, screen: Screen, *, output: str | None) -> int:
    """Check each part of the setup, and say what to fix.

    The parts are project, syncs, warehouse, Stripe, permissions and state.
    """
    checks = project.debug()
    for check in checks:
        if screen.as_json(output):
            problems = [json_problem(problem) for problem in check.problems]
            line = {"check": check.name, "ok": check.ok, "detail": check.detail, "problems": problems}
            screen.lines([orjson.dumps(line).decode()])
            continue
        mark = f"{MARKS[check.ok]}  {check.name:<12} "
        screen.lines(wrap(check.detail, screen.width, first=mark, indent=" " * len(mark)))
        screen.problems(check.problems)
        screen.separate(check.problems)
    return 2 if any(check.ok is False for check in checks) else 0


@click.command()
@click.argument("resource", required=False, shell_complete=complete_resource)
@click.argument("path", required=False)
@OUTPUT
def fields(resource: str | None, path: str | None, output: str | None) -> int:
    """List the parameters of RESOURCE, or all resources.

    PATH looks into a hash (`recurring`, `items`).
    """
    screen = Screen(log_format="text", color=wants_color())
    if resource is None:
        screen.lines(tables.render_resources(Project.resources(), as_json=output == "json", width=screen.width))
    else:
        found = Project.fields(resource, path)
        screen.lines(tables.render_fields(found, as_json=output == "json", width=screen.width))
    return 0
