"""The commands on the state: what was last written to Stripe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import orjson

from dbt_stripe_sync.cli.look import OUTPUT
from dbt_stripe_sync.cli.options import with_project
from dbt_stripe_sync.report import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.api import Project
    from dbt_stripe_sync.cli.screen import Screen


@click.group()
def state() -> None:
    """Look at what was last written to Stripe."""


@state.command("list")
@with_project
@click.argument("sync", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many records.")
@OUTPUT
def list_(project: Project, screen: Screen, *, sync: str | None, limit: int, output: str) -> int:
    """List the syncs in the state, or the records of SYNC: key, Stripe id, status."""
    rows: list[Mapping[str, object]]
    with project.state() as store:
        if sync is None:
            rows = [{"sync": name, "resource": resource, "records": f"{n:,}"} for name, resource, n in store.summary()]
            columns: tuple[str, ...] = ("sync", "resource", "records")
        else:
            rows = [
                {"key": r.key, "stripe_id": r.stripe_id, "status": "removed" if r.removed else "live"}
                for r in store.list_records(sync, limit=limit)
            ]
            columns = ("key", "stripe_id", "status")
    if output == "json":
        screen.lines(orjson.dumps(row).decode() for row in rows)
    else:
        screen.lines(tables.render_table(columns, rows, width=screen.width))
    return 0


@state.command("show")
@with_project
@click.argument("sync")
@click.argument("key")
def show(project: Project, screen: Screen, *, sync: str, key: str) -> int:
    """Show the record of one row: its object and every parameter that is ours."""
    record = project.record(sync, key)
    screen.lines(tables.render_record(record))
    return 0
