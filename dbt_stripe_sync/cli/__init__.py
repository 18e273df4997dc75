"""The command line: parse arguments, call `Project`, print. No logic."""

from __future__ import annotations

import errno
import gc
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from dbt_stripe_sync.model.errors import Location, Problem, SyncError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
# Each row that differs creates some dozen objects without cycles. With its default thresholds (700, 10, 10), Python
# looks for cycles so often that a first plan takes 50% longer.
GARBAGE_THRESHOLDS = (50_000, 20, 100)
# What a write to an open file can fail with, which doesn't name the file.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
UNSUPPORTED = Problem(
    code="unsupported-system",
    summary="dbt-stripe-sync doesn't run on Windows: it needs POSIX locks and signals",
    hint="run it on Linux or macOS, or in the Windows Subsystem for Linux",
)
OUT_OF_MEMORY = Problem(
    code="out-of-memory",
    summary="the program ran out of memory; what was sent is recorded",
    hint="raise `memory_mb` in vars.stripe_sync, run it with more memory, or with `--select` for fewer syncs at a time",
)

STOPPED = Problem(
    code="interrupted",
    summary="the command was interrupted",
    hint="run it again: the next run finds out what was sent",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 success, 1 some rows or models were not synced, 2 nothing could be done."""
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    from dbt_stripe_sync.cli.commands import commands

    if sys.platform == "win32":
        sys.exit(_report(SyncError(UNSUPPORTED), arguments))
    try:
        status = commands.main(args=arguments, prog_name="dbt-stripe-sync", standalone_mode=False)
    except BrokenPipeError:
        # The reader of our output (`head`, a pager) has seen enough.
        sys.stderr.close()
        sys.exit(0)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - unexpected errors are raised again there
        sys.exit(_report(error, arguments))
    sys.exit(status if isinstance(status, int) else 0)


def _report(error: BaseException, arguments: Sequence[str] | None) -> int:
    """Print why a command failed, and return its exit code. Raises unexpected errors, with their traceback."""
    from dbt_stripe_sync.cli.screen import print_failure, print_problems

    as_json = _is_json(arguments)
    if isinstance(error, SyncError):
        print_problems(error.problems, as_json=as_json, color="--no-color" not in _given(arguments))
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
        return INTERRUPTED  # the terminal is gone, so nobody would read the rest
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _DISK):
        print_problems([_unusable_file(error)], as_json=as_json)
        return SyncError.exit_code
    if not as_json:
        raise error
    print_failure(error)
    return SyncError.exit_code


def _unusable_file(error: OSError) -> Problem:
    """The problem of a file that a command can't read or write."""
    return Problem(
        code="file-unusable",
        summary=f"the file can't be read or written: {(error.strerror or type(error).__name__).lower()}",
        where=Location(file=str(error.filename)) if error.filename is not None else Location(),
        hint="check its path, its permissions and the space on its disk",
    )


def _is_json(arguments: Sequence[str] | None) -> bool:
    """Whether stderr gets JSON lines, read from the arguments, since the command may not have been parsed."""
    given = _given(arguments)
    return "--log-format=json" in given or ("--log-format", "json") in pairwise(given)


def _given(arguments: Sequence[str] | None) -> Sequence[str]:
    return sys.argv[1:] if arguments is None else arguments
