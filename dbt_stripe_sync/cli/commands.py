"""Every command by its name. A command line without one means `run`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

import dbt_stripe_sync

if TYPE_CHECKING:
    from collections.abc import Sequence

# Modules are imported when their command is called: `ls` must not pay for `demo`.
MODULES = {
    "run": "sync",
    "plan": "sync",
    "apply": "sync",
    "retry": "sync",
    "runs": "history",
    "report": "history",
    "parse": "look",
    "ls": "look",
    "show": "look",
    "debug": "look",
    "fields": "look",
    "state": "state",
    "init": "authoring",
    "docs": "authoring",
    "schema": "authoring",
    "sandbox": "local",
    "demo": "local",
}


class Commands(click.Group):
    """Finds commands lazily, and takes arguments without a command as those of `run`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are needed."""
        del ctx
        return list(MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        del ctx
        module = MODULES.get(cmd_name)
        if module is None:
            return None
        command = getattr(import_module(f"dbt_stripe_sync.cli.{module}"), cmd_name)
        return command if isinstance(command, click.Command) else None

    def parse_args(self, ctx: click.Context, args: Sequence[str]) -> list[str]:
        """Put `run` in front where no command is named."""
        given = list(args)
        if not given or (given[0].startswith("-") and given[0] not in {"--help", "-h", "--version"}):
            given.insert(0, "run")
        return super().parse_args(ctx, given)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(dbt_stripe_sync.__version__, prog_name="dbt-stripe-sync")
def commands() -> None:
    """Keep Stripe in step with your warehouse.

    Run it after `dbt build`: it reads the models that say `stripe_sync` in their meta and makes Stripe match their
    rows. Without a command it does `run`.
    """
