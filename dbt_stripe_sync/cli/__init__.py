"""The command line: parse arguments, call `Project`, print. No logic."""

from __future__ import annotations

import errno
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from dbt_stripe_sync.model.errors import Problem, SyncError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
OUT_OF_MEMORY = Problem(
    code="out-of-memory",
    summary="there was not enough memory to go on; what was sent is remembered",
    hint="run it again with more memory, or with `--select` for fewer syncs at a time",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 all well, 1 some rows or models failed or were held, 2 nothing could be done."""
    from dbt_stripe_sync.cli.commands import commands

    try:
        status = commands.main(args=arguments, prog_name="dbt-stripe-sync", standalone_mode=False)
    except SyncError as error:
        from dbt_stripe_sync.cli.screen import print_problems

        print_problems(error.problems, as_json=_is_json(arguments))
        sys.exit(error.exit_code)
    except click.ClickException as error:
        if _is_json(arguments):
            from dbt_stripe_sync.cli.screen import print_problems

            print_problems([Problem(code="usage", summary=error.format_message())], as_json=True)
        else:
            error.show()
        sys.exit(error.exit_code)
    except MemoryError:
        from dbt_stripe_sync.cli.screen import print_problems

        print_problems([OUT_OF_MEMORY], as_json=_is_json(arguments))
        sys.exit(SyncError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (`head`, a pager) has seen enough.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        # The terminal is gone, and with it whoever would read the rest.
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _is_json(arguments: Sequence[str] | None) -> bool:
    """Whether programs read what is printed on stderr: known also where a command has not begun."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return "--log-format=json" in given or ("--log-format", "json") in pairwise(given)
