"""The commands on dbt Cloud: cloud trigger."""

from __future__ import annotations

from typing import Any

import click

from dbt_stripe_sync.alerts import alerting_about_stops
from dbt_stripe_sync.cli.arguments import project_options
from dbt_stripe_sync.cli.cloud_progress import CloudProgress
from dbt_stripe_sync.cli.screen import Screen, wants_color
from dbt_stripe_sync.cli.sync import run
from dbt_stripe_sync.cloud import trigger_job

LONGEST_RUN = 4 * 60 * 60
# The job decides what dbt builds, and the artifacts come from its run.
NOT_OF_RUN = frozenset({"build", "defer", "dbt_cloud_job", "dbt_cloud_run", "dbt_cloud_wait"})


@click.group()
def cloud() -> None:
    """Work with dbt Cloud: start a job and sync what it built."""


@cloud.command("trigger")
@click.argument("job", type=int)
@click.option("--cause", default="Started by dbt-stripe-sync", help="Reason shown in dbt Cloud.")
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=LONGEST_RUN, help="Seconds to wait for the run to finish."
)
@click.option("--poll", type=click.FloatRange(min=0.1), default=10, help="Seconds between checks of the run.")
def trigger(job: int, *, cause: str, timeout: float, poll: float, **given: Any) -> int:
    """Start the dbt Cloud job JOB, then sync what its run built.

    It also takes the options of `run`. After Ctrl-C the job continues in dbt Cloud; `run --dbt-cloud-run` syncs it
    later.
    """
    screen = Screen(
        log_format=given["log_format"], color=not given["no_color"] and wants_color(), is_quiet=given["quiet"]
    )
    with alerting_about_stops(project_options(given)):
        started = trigger_job(job, cause=cause, timeout=timeout, poll=poll, on_change=CloudProgress(screen).run_changed)
    callback = run.callback
    assert callback is not None  # noqa: S101 - click's own commands have one
    cloud_run = {"dbt_cloud_job": None, "dbt_cloud_run": started.id, "dbt_cloud_wait": 0}
    return int(callback(build=False, **cloud_run, **given))


trigger.params += [option for option in run.params if option.name not in NOT_OF_RUN]
