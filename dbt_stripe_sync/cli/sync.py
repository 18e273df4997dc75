"""The commands that compare and write: run, plan, apply."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from dbt_stripe_sync.cli.commands import BARE
from dbt_stripe_sync.cli.completing import complete_run
from dbt_stripe_sync.cli.options import COUNT, FILE, with_project
from dbt_stripe_sync.model.errors import ConfigError, PlanError, Problem, Severity
from dbt_stripe_sync.model.plan import PlanOptions
from dbt_stripe_sync.model.run import NOT_CONFIRMED, RunReport, RunStatus
from dbt_stripe_sync.report import run_json, run_text
from dbt_stripe_sync.report.lines import wrap
from dbt_stripe_sync.report.progress_lines import log_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dbt_stripe_sync.api import Project
    from dbt_stripe_sync.cli.screen import Screen
    from dbt_stripe_sync.model.plan import Agree, PermanentRemovals, Plan, Review
    from dbt_stripe_sync.report.progress import ProgressDisplay

FORMATS = click.Choice(["text", "markdown", "json"])
REFRESH = click.option("--refresh", is_flag=True, help="Read every object back and show what others changed in Stripe.")
ALL = click.option("--all", "all_rows", is_flag=True, help="Show every change, not examples of each kind.")
RESULTS = click.option("--output", type=click.Choice(["text", "json"]), help="Output format [default: text]")
YES = click.option("--yes", is_flag=True, help="Pre-approve removals that can't be undone.")


@click.command()
@with_project
@click.option("--build", is_flag=True, help="Run `dbt build` for the synced models and their parents first.")
@click.option(
    "--defer",
    is_flag=True,
    help="With --build, build no parents: dbt reads unbuilt ones from --state.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and send nothing.")
@click.option("--full-refresh", is_flag=True, help="Compare every row by its parameters, not by its hash.")
@REFRESH
@click.option("--fail-fast", is_flag=True, help="Stop at the first row that Stripe rejects.")
@click.option("--limit", type=COUNT, help="Send at most this many changes.")
@YES
@click.option("--show-values", is_flag=True, help="Show row values in a dry run.")
@ALL
@RESULTS
def run(
    project: Project,
    screen: Screen,
    *,
    build: bool,
    dry_run: bool,
    full_refresh: bool,
    refresh: bool,
    fail_fast: bool,
    limit: int | None,
    yes: bool,
    show_values: bool,
    all_rows: bool,
    output: str | None,
) -> int:
    """Plan and apply: make Stripe match the models.

    On a terminal, `dbt-stripe-sync` without a command shows the first plan and asks before it sends it.

    Removals that can't be undone need confirmation on a terminal, and `--yes` elsewhere, unless the sync has
    `limits.max_removed`.
    """
    if build:
        if screen.log_format == "json":
            # dbt's output is mixed with our own.
            os.environ.setdefault("DBT_LOG_FORMAT", "json")
        project.build()
    elif project.options.defer:
        raise ConfigError(_nothing_to_defer())
    options = PlanOptions(full_refresh=full_refresh, refresh=refresh, most_changes=limit)
    if dry_run:
        with screen.progress() as progress, project.plan(options, progress=progress) as plan:
            progress.end()
            form = "json" if screen.as_json(output) else "text"
            sent_by = "the same command without `--dry-run`"
            lines = rendered(plan, project, screen, form, show_values=show_values, sent_by=sent_by, all_rows=all_rows)
            screen.lines(lines)
            return plan_status(plan)
    with screen.progress() as progress:
        agreed = _agreement(project, screen, progress, yes=yes)
        is_bare = bool(click.get_current_context().meta.get(BARE))
        review = _review(project, screen, progress, asks_first=is_bare and not yes)
        report = project.run(options, progress=progress, fail_fast=fail_fast, agreed=agreed, review=review)
    return finish(report, project, screen, output)


@click.command()
@with_project
@click.option("--out", type=FILE, help="Save the plan to a file, for `apply`.")
@click.option("--output", "form", type=FORMATS, help="Output format [default: text]")
@click.option("--format", "form", type=FORMATS, hidden=True)
@click.option("--full-refresh", is_flag=True, help="Compare every row by its parameters, not by its hash.")
@REFRESH
@click.option("--limit", type=COUNT, help="Plan at most this many changes.")
@click.option("--show-values", is_flag=True, help="Show old and new values.")
@ALL
def plan(
    project: Project,
    screen: Screen,
    *,
    out: Path | None,
    form: str | None,
    full_refresh: bool,
    refresh: bool,
    limit: int | None,
    show_values: bool,
    all_rows: bool,
) -> int:
    """Show what would change in Stripe, and send nothing."""
    options = PlanOptions(full_refresh=full_refresh, refresh=refresh, most_changes=limit)
    with screen.progress() as progress, project.plan(options, progress=progress, out=out) as made:
        progress.end()
        form = form or ("json" if screen.log_format == "json" else "text")
        show_values = show_values or screen.is_interactive
        sent_by = f"`dbt-stripe-sync apply {out}`" if out is not None else _run_again()
        lines = rendered(made, project, screen, form, show_values=show_values, sent_by=sent_by, all_rows=all_rows)
        screen.lines(lines)
        return plan_status(made)


@click.command()
@with_project
@click.argument("plan_file", metavar="FILE", type=FILE)
@click.option("--fail-fast", is_flag=True, help="Stop at the first row that Stripe rejects.")
@RESULTS
def apply(project: Project, screen: Screen, *, plan_file: Path, fail_fast: bool, output: str | None) -> int:
    """Send a plan that `plan --out` saved, unless it is stale.

    Doesn't ask for confirmation. To continue an interrupted `apply`, run it again with the same FILE.
    """
    with screen.progress() as progress:
        report = project.apply(plan_file, progress=progress, fail_fast=fail_fast)
    return finish(report, project, screen, output)


@click.command()
@with_project
@click.argument("run_id", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.option("--fail-fast", is_flag=True, help="Stop at the first row that Stripe rejects.")
@YES
@RESULTS
def retry(
    project: Project, screen: Screen, *, run_id: str | None, fail_fast: bool, yes: bool, output: str | None
) -> int:
    """Retry only what a run didn't finish.

    These are the rows that RUN (default: the last one) rejected, skipped or left unresolved. What an interrupted run
    didn't send is in the next plan: use `run`.
    """
    interrupted = project.state.interrupted(run_id)
    with screen.progress() as progress:
        agreed = _agreement(project, screen, progress, yes=yes)
        review = _review(project, screen, progress)
        report = project.retry(run_id, progress=progress, fail_fast=fail_fast, agreed=agreed, review=review)
    if report is None:
        if output == "json":
            screen.lines(["null"])
            return 0
        screen.say(["Nothing to retry: that run left no row rejected, skipped or unresolved."])
        _hint_at_rest(interrupted, screen)
        return 0
    status = finish(report, project, screen, output)
    _hint_at_rest(interrupted, screen)
    return status


def _hint_at_rest(interrupted: str | None, screen: Screen) -> None:
    """Say what sends the rows that an interrupted run didn't send."""
    if interrupted is not None and screen.log_format == "text" and not screen.is_quiet:
        text = f"run {interrupted} was interrupted; `dbt-stripe-sync run` sends what it didn't send"
        screen.notes(wrap(text, screen.error_width, first="hint: ", indent="  "))


def _run_again() -> str:
    """The command that sends what was planned. Without the options that chose it, `run` would send something else."""
    given = click.get_current_context().params
    chosen = ("select", "exclude", "selector", "limit", "full_refresh", "refresh")
    return "`dbt-stripe-sync run`" + " with the same options" * any(given.get(name) for name in chosen)


def _nothing_to_defer() -> Problem:
    return Problem(
        code="defer-without-build",
        summary="`--defer` changes what `dbt build` builds, and this run builds nothing",
        hint="add `--build`, or drop `--defer`: synced models are always read where this target's `dbt build` put them",
    )


def _agreement(project: Project, screen: Screen, progress: ProgressDisplay, *, yes: bool) -> bool | Agree:
    """The answer of `--yes`, or of the person at the terminal, who sees the plan first."""
    if yes or not screen.can_ask:
        return yes

    def ask(plan: Plan, removals: Sequence[PermanentRemovals]) -> bool:
        progress.end()
        _confirm(plan, removals, project, screen)
        return True

    return ask


def _review(project: Project, screen: Screen, progress: ProgressDisplay, *, asks_first: bool = False) -> Review:
    """Show the effect of replaced prices before the plan is sent, and ask if this is the project's first plan."""

    def look(plan: Plan, /, *, is_first: bool) -> None:
        from dbt_stripe_sync.report.price_moves import find_price_moves, render_price_moves

        if asks_first and is_first and len(plan.changes) and screen.can_ask:
            progress.end()
            _confirm(plan, (), project, screen)
        elif screen.log_format == "text" and not screen.is_quiet and (moves := find_price_moves(plan)):
            progress.end()
            with_amounts = screen.is_interactive or project.workload.settings.show_amounts
            lines = render_price_moves(moves, with_amounts=with_amounts)
            screen.notes(
                [
                    "Price changes:",
                    *(part for line in lines for part in wrap(line, screen.error_width, first="  ", indent="    ")),
                ]
            )

    return look


def _confirm(plan: Plan, removals: Sequence[PermanentRemovals], project: Project, screen: Screen) -> None:
    """Show a plan and ask whether to send it. Raises `PlanError` if the answer is no."""
    from dbt_stripe_sync.report import plan_words

    screen.notes(rendered(plan, project, screen, "text", show_values=True))
    if not screen.confirm(plan_words.question_of(plan, removals)):
        raise declined()


def declined() -> PlanError:
    """A person has answered no."""
    return PlanError(Problem(code=NOT_CONFIRMED, summary="nothing was sent, because the answer was no"))


def rendered(
    plan: Plan,
    project: Project,
    screen: Screen,
    form: str,
    *,
    show_values: bool,
    sent_by: str | None = None,
    all_rows: bool = False,
) -> Iterator[str]:
    """A plan in one of its output formats. `sent_by` is the command that sends it, if there is one to hint at."""
    if form == "json":
        from dbt_stripe_sync.report import plan_json

        return plan_json.render_plan(plan, with_values=show_values)
    plan = replace(plan, problems=screen.wanted(plan.problems))
    from dbt_stripe_sync.report import plan_text

    style = plan_text.PlanStyle(
        show_values=show_values,
        show_amounts=project.workload.settings.show_amounts,
        width=screen.width,
        color=screen.has_color,
        calls_per_second=project.calls_per_second(plan.header),
        sent_by=sent_by,
        all_rows=all_rows,
    )
    if form == "markdown":
        from dbt_stripe_sync.report import plan_markdown

        return plan_markdown.render_plan(plan, style=style)
    return plan_text.render_plan(plan, style=style)


def finish(report: RunReport, project: Project, screen: Screen, output: str | None = None) -> int:
    """Print what a run did, and return its exit code."""
    has_succeeded = report.status is RunStatus.SUCCEEDED
    if output == "json":
        screen.lines(run_json.render_results(report))
    elif screen.log_format == "json":
        screen.problems(report.problems)
        screen.lines([log_line("run_ended", "info" if has_succeeded else "error", **run_json.build_sums(report))])
    elif not (screen.is_quiet and has_succeeded):
        missing = {problem.where.file for problem in report.problems if problem.code == "artifact-not-written"}
        lines = run_text.render_run(
            replace(report, problems=screen.wanted(report.problems)),
            width=screen.width,
            color=screen.has_color,
            artifacts=[path for path in project.artifacts if str(path) not in missing],
            summary=project.summary,
        )
        screen.lines(lines)
    return 0 if has_succeeded else 1


def plan_status(plan: Plan) -> int:
    """The exit code of a plan: 1 if a part of it can't be sent."""
    return 1 if any(problem.severity is Severity.ERROR for problem in plan.problems) else 0
