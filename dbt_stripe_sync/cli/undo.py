"""The command that reverses what a run has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from dbt_stripe_sync.cli.completing import complete_run
from dbt_stripe_sync.cli.options import FILE, with_project
from dbt_stripe_sync.cli.sync import ALL, FORMATS, declined, finish, plan_status, rendered
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.report.problems_text import render_problems

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dbt_stripe_sync.api import Project
    from dbt_stripe_sync.cli.screen import Screen
    from dbt_stripe_sync.model.plan import Plan


@click.command()
@with_project
@click.argument("run_id", metavar="RUN", shell_complete=complete_run)
@click.option("--yes", is_flag=True, help="Send the plan without asking.")
@click.option("--out", type=FILE, help="Save the plan to a file, for `apply`, and send nothing.")
@click.option("--output", "form", type=FORMATS, help="Print the plan in this form and send nothing [default: text]")
@click.option("--fail-fast", is_flag=True, help="Stop at the first change that Stripe rejects.")
@click.option("--show-values", is_flag=True, help="Show old and new values.")
@ALL
def undo(
    project: Project,
    screen: Screen,
    *,
    run_id: str,
    yes: bool,
    out: Path | None,
    form: str | None,
    fail_fast: bool,
    show_values: bool,
    all_rows: bool,
) -> int:
    """Reverse what RUN changed, as far as Stripe allows.

    Shows a plan that starts with what can't be undone, and asks before it sends anything. Without a terminal and
    without `--yes`, it only shows the plan. Objects that were changed since then are left alone. The models don't
    change, so the next plan shows what RUN sent again: fix the models first, or pause scheduled runs.
    """
    if yes and (out is not None or form is not None):
        raise click.UsageError("`--yes` sends the plan; `--out` and `--output` only show or save it")
    show_values = show_values or screen.is_interactive
    only_shows = out is not None or form is not None or not (yes or screen.can_ask)

    def shown(plan: Plan) -> Iterator[str]:
        form_ = form or ("json" if screen.log_format == "json" else "text")
        if form_ == "text":
            yield from _cannot(plan, screen)
            plan = replace(plan, problems=())
        yield from rendered(plan, project, screen, form_, show_values=show_values, all_rows=all_rows)

    if only_shows:
        with project.undo_plan(run_id, out=out) as plan:
            screen.lines(shown(plan))
            if form is None and screen.log_format == "text" and len(plan.changes):
                how = f"`dbt-stripe-sync apply {out}`" if out is not None else f"`dbt-stripe-sync undo {run_id} --yes`"
                screen.notes([f"hint: {how} sends this plan."])
            return plan_status(plan)
    with screen.progress() as progress:

        def review(plan: Plan, /, *, is_first: bool) -> None:
            del is_first
            progress.end()
            if screen.can_ask or not (screen.is_quiet or screen.log_format == "json"):
                screen.notes(shown(plan))
            if yes or not len(plan.changes):
                return
            if not screen.confirm(f"Undo {counted(len(plan.changes), 'change')} of run {run_id}?"):
                raise declined()

        report = project.undo(run_id, progress=progress, fail_fast=fail_fast, review=review)
    return finish(report, project, screen)


def _cannot(plan: Plan, screen: Screen) -> Iterator[str]:
    """The problems of what can't be undone, which are printed first."""
    if plan.problems:
        yield "Can't be undone:"
        yield from render_problems(plan.problems, color=screen.has_color, width=screen.width)
        yield ""
