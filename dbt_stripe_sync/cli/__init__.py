"""The command line: parse arguments, call `Project`, print. No logic."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from dbt_stripe_sync.model.errors import SyncError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 all well, 1 some rows or models failed or were held, 2 nothing could be done."""
    from dbt_stripe_sync.cli.commands import commands

    try:
        status = commands.main(args=arguments, prog_name="dbt-stripe-sync", standalone_mode=False)
    except SyncError as error:
        from dbt_stripe_sync.cli.screen import print_problems

        print_problems(error.problems)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (`head`, a pager) has seen enough.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(status if isinstance(status, int) else 0)
