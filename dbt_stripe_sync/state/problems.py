"""Everything that can be wrong with the state's file, each with a hint."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.errors import Location, Problem, StateError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# DuckDB raises one class for all file errors, so only the message distinguishes them.
_IN_USE = ("could not set lock", "conflicting lock", "being used by another process", "already open")
_TOO_NEW = ("version number", "newer version of duckdb", "storage version")
_NOT_ALLOWED = ("permission denied", "read-only file system", "access is denied", "operation not permitted")
_FULL = ("no space left", "not enough space", "file too large", "disk quota")
_NO_MEMORY = ("out of memory",)
MOST_RUNS_SHOWN = 3
DAMAGED = "state-damaged"
READ_ONLY = "state-readonly"
_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def ambiguous_run(begins: str, found: Sequence[str]) -> StateError:
    """Several runs have ids that begin with the given characters."""
    shown = ", ".join(f"`{run}`" for run in found[:MOST_RUNS_SHOWN])
    more = ", …" if len(found) > MOST_RUNS_SHOWN else ""
    return StateError(
        Problem(
            code="ambiguous-run",
            summary=f"the ids of {len(found):,} runs begin with `{begins}`: {shown}{more}",
            hint="give more characters of the id; `dbt-stripe-sync runs` lists them",
        )
    )


def cannot_open(path: Path, error: Exception) -> StateError:
    """Why the file could not be opened or read."""
    text = str(error).lower()
    if any(sign in text for sign in _NO_MEMORY):
        return _no_memory(path)
    if any(sign in text for sign in _IN_USE):
        return StateError(
            Problem(
                code="state-locked",
                summary="another program has the state open",
                where=Location(file=str(path)),
                hint="close it (a DuckDB shell, for example) and run again",
            )
        )
    if isinstance(error, PermissionError) or any(sign in text for sign in _NOT_ALLOWED):
        return cannot_write(path, error)
    if any(sign in text for sign in _FULL):
        return cannot_write(path, error)
    if any(sign in text for sign in _TOO_NEW):
        return StateError(
            Problem(
                code="state-newer",
                summary="the state was written by a newer DuckDB than the one that is installed",
                where=Location(file=str(path)),
                hint="upgrade `duckdb` to the version that the last run used, or a later one",
            )
        )
    return damaged(path)


def damaged(path: Path) -> StateError:
    """The file exists but can't be read."""
    return StateError(
        Problem(
            code=DAMAGED,
            summary="the state can't be read: the file is damaged, or it is not a state of dbt-stripe-sync",
            where=Location(file=str(path)),
            hint="move the file away, put a backup in its place if there is one (`*.before-v*`, or `state import` of "
            "an export), and run `dbt-stripe-sync state rebuild`: it finds what the backup lacks by the tags in Stripe",
        )
    )


def newer(path: Path, version: int, newest: int) -> StateError:
    """A later version of dbt-stripe-sync has written the file."""
    return StateError(
        Problem(
            code="state-newer",
            summary=f"the state has format {version}, and this version of dbt-stripe-sync knows formats up to {newest}",
            where=Location(file=str(path)),
            hint="upgrade dbt-stripe-sync to the version that wrote it, or a later one",
        )
    )


def cannot_write(path: Path, error: Exception) -> StateError:
    """Why the file could not be written: the disk is full, or permission is missing."""
    text = str(error).lower()
    if any(sign in text for sign in _NO_MEMORY):
        return _no_memory(path)
    if (isinstance(error, OSError) and error.errno in _FULL_ERRORS) or any(sign in text for sign in _FULL):
        return StateError(
            Problem(
                code="state-disk-full",
                summary="the state can't be written: the disk is full",
                where=Location(file=str(path)),
                hint="free some space and run again: the state knows everything that was sent",
            )
        )
    if isinstance(error, OSError) or any(sign in text for sign in _NOT_ALLOWED):
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "permission denied"
        return StateError(
            Problem(
                code=READ_ONLY,
                summary=f"the state can't be written: {reason}",
                where=Location(file=str(path)),
                hint="make its folder writable, or choose another place with `--state-path`",
            )
        )
    return StateError(
        Problem(
            code="state-unwritable",
            summary=f"the state can't be written (DuckDB: {type(error).__name__})",
            where=Location(file=str(path)),
            hint="run again: the state knows everything that was sent; if it happens again, check the disk",
        )
    )


def moved(path: Path) -> StateError:
    """The state's file was replaced or removed since it was opened, so another run may be using the new one."""
    return StateError(
        Problem(
            code="state-moved",
            summary="the state's file was moved away or replaced while the run was writing to it, so the run has ended",
            where=Location(file=str(path)),
            hint="put it back and run again: it has the changes in progress; if it is lost, use"
            " `dbt-stripe-sync state rebuild`",
        )
    )


def is_copy(path: Path, address: str) -> StateError:
    """A local copy of a remote state was opened as if it were the state."""
    return StateError(
        Problem(
            code="state-is-copy",
            summary=f"this file is a copy of the state at {address}, where another run may have continued since",
            where=Location(file=str(path)),
            hint="open the state itself (`state` in vars.stripe_sync, or `--state-url`); to move it back to a file, use"
            " `state export FOLDER` there and `state import FOLDER --state-path FILE`",
        )
    )


def _no_memory(path: Path) -> StateError:
    return StateError(
        Problem(
            code="state-memory",
            summary="the state needs more memory, or more space for temporary files, than is available",
            where=Location(file=str(path)),
            hint="raise `memory_mb` in vars.stripe_sync, or free some space next to the state, and run again: "
            "nothing was lost",
        )
    )


def other_identity(path: Path, name: str, known: str, given: str) -> StateError:
    """The state belongs to another account, mode or project."""
    ways_out = {
        "account": "use a key of that account, or give this account a state of its own with `--state-path`",
        "mode": "use a key of that mode, or give this mode a state of its own with `--state-path`",
        "project": "run it in that project, or give this one a state of its own with `--state-path`",
    }
    return StateError(
        Problem(
            code=f"state-other-{name}",
            summary=f"the state was made for {name} `{known}`, and this is `{given}`",
            where=Location(file=str(path)),
            hint=ways_out[name],
        )
    )
