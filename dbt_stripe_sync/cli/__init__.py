"""The command line: parse arguments, call `Project`, print. No logic."""

from __future__ import annotations

import errno
import gc
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from dbt_stripe_sync.model.errors import Problem, SyncError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
# Each row that differs makes some dozen objects and no cycle. By default (700 of them, 10, 10) Python looks for cycles
# among them so often that a first plan takes half as long again.
GARBAGE_THRESHOLDS = (50_000, 20, 100)
UNSUPPORTED = Problem(
    code="unsupported-system",
    summary="dbt-stripe-sync doesn't run on Windows: it needs POSIX locks and signals",
    hint="run it on Linux or macOS, or in the Windows Subsystem for Linux",
)
OUT_OF_MEMORY = Problem(
    code="out-of-memory",
    summary="the program ran out of memory; what was sent is recorded",
    hint="run it again with more memory, or with `--select` for fewer syncs at a time",
)

STOPPED = Problem(
    code="interrupted",
    summary="the command was interrupted",
    hint="run it again: the next run finds out what was sent",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 all well, 1 some rows or models failed or were held, 2 nothing could be done."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    from dbt_stripe_sync.cli.commands import commands

    if sys.platform == "win32":
        sys.exit(_tell(SyncError(UNSUPPORTED), as_json=_is_json(arguments)))
    try:
        status = commands.main(args=arguments, prog_name="dbt-stripe-sync", standalone_mode=False)
    except BrokenPipeError:
        # The reader of our output (`head`, a pager) has seen enough.
        sys.stderr.close()
        sys.exit(0)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - what nobody foresaw is raised again there
        sys.exit(_tell(error, as_json=_is_json(arguments)))
    sys.exit(status if isinstance(status, int) else 0)


def _tell(error: BaseException, *, as_json: bool) -> int:
    """Say how a command ended, and with which code. Raises what nobody foresaw, for people to see."""
    from dbt_stripe_sync.cli.screen import print_failure, print_problems

    if isinstance(error, SyncError):
        print_problems(error.problems, as_json=as_json)
        return error.exit_code
    if isinstance(error, MemoryError):
        print_problems([OUT_OF_MEMORY], as_json=as_json)
        return SyncError.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        if as_json:
            print_problems([STOPPED], as_json=True)
        return INTERRUPTED
    if isinstance(error, click.ClickException):
        if as_json:
            print_problems([Problem(code="usage", summary=error.format_message())], as_json=True)
        else:
            error.show()
        return error.exit_code
    if isinstance(error, OSError) and error.errno == errno.EIO:
        return INTERRUPTED  # the terminal is gone, and with it whoever would read the rest
    if not as_json:
        raise error
    print_failure(error)
    return SyncError.exit_code


def _is_json(arguments: Sequence[str] | None) -> bool:
    """Whether programs read what is printed on stderr: known also where a command has not begun."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return "--log-format=json" in given or ("--log-format", "json") in pairwise(given)
