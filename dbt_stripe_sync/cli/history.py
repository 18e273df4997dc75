"""The commands on what happened: runs, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import orjson

from dbt_stripe_sync.cli.look import OUTPUT
from dbt_stripe_sync.cli.options import with_project
from dbt_stripe_sync.report import html, run_json, run_text, tables

if TYPE_CHECKING:
    from dbt_stripe_sync.api import Project
    from dbt_stripe_sync.cli.screen import Screen


@click.command()
@with_project
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many runs.")
@OUTPUT
def runs(project: Project, screen: Screen, *, limit: int, output: str) -> int:
    """List the runs, the newest first."""
    rows = [
        {
            "run": run.id,
            "command": run.command,
            "target": run.target,
            "status": run.status.value,
            "started": f"{run.started_at:%Y-%m-%d %H:%M:%S}Z",
            **{name: run.done.get(name, 0) for name in ("succeeded", "rejected", "skipped", "unknown")},
            "owed": run.owed,
        }
        for run in project.state.runs(limit)
    ]
    if output == "json":
        screen.lines(orjson.dumps(row).decode() for row in rows)
    else:
        columns = ("run", "command", "status", "started", "succeeded", "rejected", "skipped", "unknown", "owed")
        screen.lines(tables.render_table(columns, rows, width=screen.width))
    return 0


@click.command()
@with_project
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--html", "form", flag_value="html", help="Write the page and print where it lies.")
@click.option("--text", "form", flag_value="text", help="Print it.")
@click.option("--json", "form", flag_value="json", help="Print it as JSON.")
@click.option("--open", "is_opened", is_flag=True, help="Open the page in a browser, as a terminal does by default.")
@click.option("--show-values", is_flag=True, help="Show row values.")
def report(
    project: Project, screen: Screen, *, run_id: str | None, form: str | None, is_opened: bool, show_values: bool
) -> int:
    """Show what RUN (the last one) did, and what to do about it.

    Each request stands there with its id, and with what Stripe answered.
    """
    found = project.state.report(run_id)
    if form == "json":
        screen.lines([orjson.dumps(run_json.build_results(found, with_values=show_values)).decode()])
        return 0
    if form == "text":
        lines = run_text.render_run(found, width=screen.width, colour=screen.has_colour, show_values=show_values)
        screen.lines(lines)
        return 0
    _, page = project.artifacts
    page.parent.mkdir(parents=True, exist_ok=True)
    html.write_html(found, page, with_values=show_values)
    screen.lines([str(page)])
    if is_opened or (form is None and screen.is_interactive):
        click.launch(page.resolve().as_uri())
    return 0
