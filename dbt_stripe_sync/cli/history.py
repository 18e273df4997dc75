"""The commands about past runs: runs, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import orjson

from dbt_stripe_sync.cli.completing import complete_run
from dbt_stripe_sync.cli.look import OUTPUT
from dbt_stripe_sync.cli.options import COUNT, with_project
from dbt_stripe_sync.report import html, run_json, run_list, run_text

if TYPE_CHECKING:
    from dbt_stripe_sync.api import Project
    from dbt_stripe_sync.cli.screen import Screen


@click.command()
@with_project
@click.option("--limit", type=COUNT, default=20, show_default=True, help="Number of runs to show.")
@OUTPUT
def runs(project: Project, screen: Screen, *, limit: int, output: str) -> int:
    """List the runs, the newest first."""
    project.look_back()
    found = project.state.runs(limit)
    if screen.as_json(output):
        screen.lines(orjson.dumps(run_json.build_entry(run)).decode() for run in found)
    else:
        screen.lines(run_list.render_runs(found, width=screen.width))
    return 0


@click.command()
@with_project
@click.argument("run_id", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.option(
    "--output",
    "form",
    type=click.Choice(["html", "text", "json"]),
    help="How to show it: write the page and print its path (default), or print text or JSON.",
)
@click.option("--html", "form", flag_value="html", hidden=True)
@click.option("--text", "form", flag_value="text", hidden=True)
@click.option("--json", "form", flag_value="json", hidden=True)
@click.option("--open", "is_opened", is_flag=True, help="Open the page in a browser [default on a terminal]")
@click.option("--show-values", is_flag=True, help="Show row values.")
def report(
    project: Project, screen: Screen, *, run_id: str | None, form: str | None, is_opened: bool, show_values: bool
) -> int:
    """Show what RUN (default: the last) did, and what to do about it.

    Lists each request with its id and Stripe's answer.
    """
    project.look_back()
    found = project.state.report(run_id)
    if screen.as_json(form):
        screen.lines([orjson.dumps(run_json.build_results(found, with_values=show_values)).decode()])
        return 0
    if form == "text":
        lines = run_text.render_run(found, width=screen.width, color=screen.has_color, show_values=show_values)
        screen.lines(lines)
        return 0
    _, page = project.artifacts
    with_amounts = project.workload.settings.show_amounts
    page.parent.mkdir(parents=True, exist_ok=True)
    html.write_html(found, page, with_values=show_values, with_amounts=with_amounts)
    screen.lines([str(page)])
    if is_opened or (form is None and screen.is_interactive):
        click.launch(page.resolve().as_uri())
    return 0
