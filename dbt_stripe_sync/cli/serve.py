"""The command that waits for dbt Cloud's webhooks: serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dbt_stripe_sync.cli.options import FOLDER, with_local_project

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_stripe_sync.api import Project
    from dbt_stripe_sync.cli.screen import Screen


@click.command()
@with_local_project
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0 picks a free port.")
@click.option("--job", "jobs", type=int, multiple=True, help="dbt Cloud job to sync; repeat it [default: all jobs]")
@click.option("--folder", type=FOLDER, help="Folder for the queue and the reports [default: .stripe_sync/serve]")
@click.option("--yes", is_flag=True, help="Pre-approve removals that can't be undone.")
def serve(
    project: Project, screen: Screen, *, host: str, port: int, jobs: tuple[int, ...], folder: Path | None, yes: bool
) -> int:
    """Receive dbt Cloud's webhooks and sync each finished run.

    Accepts the event `job.run.completed` at /webhooks/dbt-cloud, signed with DBT_CLOUD_WEBHOOK_SECRET.
    """
    from dbt_stripe_sync import serve as server

    arguments = ("--yes",) if yes else ()
    options = server.read_serve_options(
        project.options, host=host, port=port, folder=folder, jobs=jobs, arguments=arguments
    )
    server.serve(
        options,
        ready=lambda url: screen.lines([f"{url}  (webhook: {url}/webhooks/dbt-cloud)"]),
        report=lambda text: screen.notes([text]),
    )
    return 0
