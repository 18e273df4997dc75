"""The commands that write project files: init, import, docs, schema."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click
import orjson

from dbt_stripe_sync.api import Project
from dbt_stripe_sync.cli.completing import complete_model, complete_resource
from dbt_stripe_sync.cli.look import OUTPUT
from dbt_stripe_sync.cli.options import FILE, with_project
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.imported import KINDS, PREFIX, ImportOptions
from dbt_stripe_sync.report import import_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dbt_stripe_sync.cli.screen import Screen


def _pairs(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """`--field name=column` as pairs."""
    pairs = [tuple(text.partition("=")[::2]) for text in given]
    if not all(name and column for name, column in pairs):
        raise click.BadParameter("write `PARAMETER=COLUMN`", ctx=ctx, param=param)
    return tuple((name, column) for name, column in pairs)


@click.command()
@with_project
@click.argument("model", shell_complete=complete_model)
@click.option(
    "--resource",
    required=True,
    shell_complete=complete_resource,
    help="What each row of MODEL is in Stripe: customer, price …",
)
@click.option("--key", multiple=True, help="Column that identifies a row; repeat it for a composite key.")
@click.option("--field", "fields", multiple=True, callback=_pairs, help="PARAMETER=COLUMN, where names don't match.")
def init(
    project: Project,
    screen: Screen,
    *,
    model: str,
    resource: str,
    key: tuple[str, ...],
    fields: tuple[tuple[str, str], ...],
) -> int:
    """Write a first sync for MODEL into its YAML.

    Columns are matched to parameters by name and type. Uncertain matches are left as comments with the reason. If
    nothing says what the key is, it asks on a terminal.
    """

    def ask(columns: Sequence[str]) -> tuple[str, ...]:
        screen.notes([f"Columns of {model}: {', '.join(columns)}"])
        named = click.prompt("Which column identifies a row? (several: a,b)", err=True)
        return tuple(name.strip() for name in str(named).split(",") if name.strip())

    written = project.init(model, resource, key=key, fields=fields, ask=ask if screen.can_ask else None)
    mapped = f"{counted(written.mapped, 'column')} mapped"
    left = f", {written.left:,} left as {'a comment' if written.left == 1 else 'comments'}" if written.left else ""
    screen.say([f"{written.file}: {mapped}{left}.", "", *(f"  {line}" for line in written.lines), ""])
    screen.say(["Next: `dbt parse`, then `dbt-stripe-sync plan`."])
    return 0


def _prefix(ctx: click.Context, param: click.Parameter, given: str) -> str:
    """The prefix of a name that is valid in every warehouse."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", given) is None:
        raise click.BadParameter("use lowercase letters, digits and underscores", ctx=ctx, param=param)
    return given


@click.command("import")
@with_project
@click.argument("kinds", metavar="[KIND]...", nargs=-1, type=click.Choice(KINDS))
@click.option("--include-archived", is_flag=True, help="Also import archived objects and expired coupons.")
@click.option("--prefix", default=PREFIX, callback=_prefix, show_default=True, help="Prefix of the seeds' names.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@click.option("--dry-run", is_flag=True, help="Show what would be written, and write nothing.")
@OUTPUT
def import_(
    project: Project,
    screen: Screen,
    *,
    kinds: tuple[str, ...],
    include_archived: bool,
    prefix: str,
    force: bool,
    dry_run: bool,
    output: str | None,
) -> int:
    """Write seeds and syncs from what a Stripe account has.

    KIND is products, prices or coupons; without one, all three are imported. Each kind becomes a seed with a row for
    each object, and a sync that adopts those objects. Stripe is only read. (`state import` is another command: it
    restores a state from an export.)
    """
    wanted = ImportOptions(
        kinds=kinds or KINDS,
        prefix=prefix,
        with_archived=include_archived,
        overwrite=force,
        is_trial=dry_run,
    )
    imported = project.import_account(wanted)
    if screen.as_json(output):
        screen.lines([orjson.dumps(import_text.build_json(imported, is_trial=dry_run)).decode()])
    else:
        screen.say(import_text.render_import(imported, is_trial=dry_run))
    return 0


@click.command()
@with_project
@click.option("--out", type=FILE, help="Where to write it [default: models/stripe_sync_exposures.yml]")
def docs(project: Project, screen: Screen, *, out: Path | None) -> int:
    """Write exposures, which show every sync in dbt's docs."""
    file, has_changed, left_out = project.docs(out)
    screen.problems(left_out)
    screen.say([f"{file}: {'written; run `dbt parse` to use it' if has_changed else 'unchanged'}."])
    return 0


@click.command()
@click.option("--out", type=FILE, help="Where to write it [default: standard output]")
def schema(*, out: Path | None) -> int:
    """Write the JSON Schema of the `stripe_sync` block.

    Editors use it to complete and check schema.yml.
    """
    text = orjson.dumps(Project.schema()).decode()
    if out is None:
        click.echo(text)
        return 0
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    click.echo(f"{out}: name it in the first line of a schema.yml:  # yaml-language-server: $schema={out}")
    return 0
