"""The commands on the state: what was last written to Stripe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import orjson

from dbt_stripe_sync.cli.completing import complete_sync
from dbt_stripe_sync.cli.look import OUTPUT
from dbt_stripe_sync.cli.options import COUNT, FOLDER, with_project
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.tag import further_objects
from dbt_stripe_sync.report import tables
from dbt_stripe_sync.report.owed_text import describe_owed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dbt_stripe_sync.api import Project
    from dbt_stripe_sync.cli.screen import Screen


@click.group()
def state() -> None:
    """Inspect, move, and rebuild what was last written to Stripe."""


@state.command("list")
@with_project
@click.argument("sync", required=False, shell_complete=complete_sync)
@click.option("--limit", type=COUNT, default=50, show_default=True, help="Number of records to show.")
@OUTPUT
def list_(project: Project, screen: Screen, *, sync: str | None, limit: int, output: str | None) -> int:
    """List the syncs in the state, or the records of SYNC."""
    project.look_back()
    if sync is None:
        summary = project.state.summary()
        rows = [{"sync": name, "resource": resource, "records": count} for name, resource, count in summary]
        _table(screen, rows, ("sync", "resource", "records"), output)
        return 0
    records, total = project.state.records(sync, limit=limit)
    shown = [{"key": r.key, "stripe_id": r.stripe_id, "status": "removed" if r.removed else "live"} for r in records]
    _table(screen, shown, ("key", "stripe_id", "status"), output)
    more = total - len(shown)
    if more > 0 and not screen.as_json(output) and not screen.is_quiet:
        screen.notes([f"… and {more:,} more; `--limit` shows more of them."])
    return 0


@state.command("show")
@with_project
@click.argument("sync", shell_complete=complete_sync)
@click.argument("key")
@OUTPUT
def show(project: Project, screen: Screen, *, sync: str, key: str, output: str | None) -> int:
    """Show one row's record: its object and parameters."""
    project.look_back()
    record = project.state.record(sync, key)
    screen.lines([tables.render_record_json(record)] if screen.as_json(output) else tables.render_record(record))
    return 0


@state.command("forget")
@with_project
@click.argument("sync", shell_complete=complete_sync)
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every record of SYNC.")
def forget(project: Project, screen: Screen, *, sync: str, keys: tuple[str, ...], every: bool) -> int:
    """Drop records of SYNC; their objects stay in Stripe.

    The next run looks for the tag before it creates, so a row whose object is still there gets its record back.
    """
    if every == bool(keys):
        raise click.UsageError("name the keys to forget, or use `--all`")
    count = project.state.forget(sync, keys, every=every)
    objects = "its object stays" if count == 1 else "their objects stay"
    screen.say([f"Forgot {count:,} {_records(count)} of `{sync}`; {objects} in Stripe."])
    return 0


@state.command("settle")
@with_project
@click.argument("sync", shell_complete=complete_sync)
@click.argument("key")
def settle(project: Project, screen: Screen, *, sync: str, key: str) -> int:
    """Drop the owed steps of one row.

    Use it for steps that you have done by hand or no longer want. Changes nothing in Stripe; `dbt-stripe-sync plan`
    lists the owed steps.
    """
    steps = project.state.settle(sync, key)
    screen.say([f"Settled {len(steps):,} owed {'step' if len(steps) == 1 else 'steps'} of `{sync}` [{key}]:"])
    screen.say(f"  {describe_owed(step)}" for step in steps)
    return 0


@state.command("mv")
@with_project
@click.argument("old")
@click.argument("new", shell_complete=complete_sync)
@click.option("--keep-tags", is_flag=True, help="Leave the old name in Stripe, without any calls.")
def move(project: Project, screen: Screen, *, old: str, new: str, keep_tags: bool) -> int:
    """Move records after a sync was renamed in YAML from OLD to NEW.

    The next run updates the tag in the metadata of each object, with one call for each.
    """
    if old == new:
        raise click.UsageError(f"OLD and NEW are both {old!r}: NEW is the sync's name in YAML now")
    count = project.state.move(old, new, keep_tags=keep_tags)
    screen.say([f"Moved {count:,} {_records(count)} from `{old}` to `{new}`."])
    if keep_tags:
        screen.say(
            ["Their objects keep the old name in Stripe: if the state is lost, they can't be found under the new one."]
        )
    else:
        screen.say(["The next run writes the new name to their objects; `dbt-stripe-sync plan` shows it."])
    return 0


@state.command("export")
@with_project
@click.argument("folder", type=FOLDER)
def export(project: Project, screen: Screen, *, folder: Path) -> int:
    """Write the whole state to Parquet files in FOLDER. They contain what was sent to Stripe: keep them private."""
    count = project.state.export(folder)
    screen.say([f"{count:,} {_records(count)} and every run are in {folder}."])
    return 0


@state.command("import")
@with_project
@click.argument("folder", type=FOLDER)
def import_(project: Project, screen: Screen, *, folder: Path) -> int:
    """Fill a new state from an export in FOLDER.

    `dbt-stripe-sync import` is another command: it writes seeds from what a Stripe account has.
    """
    count = project.state.import_(folder)
    screen.say([f"{count:,} {_records(count)} are in {project.state.place}."])
    return 0


@state.command("rebuild")
@with_project
@OUTPUT
def rebuild(project: Project, screen: Screen, *, output: str | None) -> int:
    """Rebuild a lost state from the tags in Stripe.

    Changes nothing in Stripe.
    """
    found = project.state.rebuild()
    status = 1 if any(sync.skipped or sync.unknown_rows or sync.further for sync in found) else 0
    if screen.as_json(output):
        for sync in found:
            line = {
                "sync": sync.sync,
                "records": sync.records,
                "unknown": sync.unknown_rows,
                "further": sync.further,
                "skipped": sync.skipped,
            }
            screen.lines([orjson.dumps(line).decode()])
        return status
    rows = [
        {
            "sync": sync.sync,
            "records": "-" if sync.skipped else f"{sync.records:,}",
            "note": sync.skipped
            or (f"{counted(sync.unknown_rows, 'object')} whose key doesn't fit into the tag" * bool(sync.unknown_rows)),
        }
        for sync in found
    ]
    screen.lines(tables.render_table(("sync", "records", "note"), rows, width=screen.width))
    screen.notes([f"`{sync.sync}`: {further_objects(sync.further)}." for sync in found if sync.further])
    return status


def _table(screen: Screen, rows: Sequence[Mapping[str, object]], columns: tuple[str, ...], output: str | None) -> None:
    """Rows as a table, or as JSON lines with their numbers as numbers."""
    if screen.as_json(output):
        screen.lines(orjson.dumps(row).decode() for row in rows)
        return
    texts = [{name: f"{cell:,}" if isinstance(cell, int) else cell for name, cell in row.items()} for row in rows]
    screen.lines(tables.render_table(columns, texts, width=screen.width))


def _records(count: int) -> str:
    return "record" if count == 1 else "records"
