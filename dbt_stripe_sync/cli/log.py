"""The commands on the log in the warehouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dbt_stripe_sync.cli.options import FILE, with_project

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_stripe_sync.api import Project
    from dbt_stripe_sync.cli.screen import Screen


@click.group()
def log() -> None:
    """Write runs and Stripe ids to the warehouse."""


@log.command("write")
@with_project
@click.option("--take-over", is_flag=True, help="Continue the log of another state that no longer exists.")
def write(project: Project, screen: Screen, *, take_over: bool) -> int:
    """Bring the log in the warehouse up to date.

    Every run does this at its end. Use it to create the tables before the first run, or if a run could not write its
    log.
    """
    written = project.write_log(take_over=take_over)
    runs = f"{written.runs:,} {'run' if written.runs == 1 else 'runs'}"
    changes = f"{written.changes:,} {'change' if written.changes == 1 else 'changes'}"
    screen.say([f"Schema {written.schema}: added {runs} with {changes}; the table `objects` is up to date."])
    return 0


@log.command("source")
@with_project
@click.option("--out", type=FILE, help="Where to write it [default: models/stripe_sync_source.yml]")
def source(project: Project, screen: Screen, *, out: Path | None) -> int:
    """Write a dbt source for the log, so that models can refer to it."""
    file, has_changed = project.write_log_source(out)
    what = "written" if has_changed else "unchanged"
    screen.say([f"{file}: {what}. Models read it as source('stripe_sync', 'objects')."])
    return 0
