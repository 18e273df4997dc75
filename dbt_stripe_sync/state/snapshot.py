"""Copies a state for reading that a run holds, or that can't be written.

DuckDB doesn't let a second process open a file that is being written. Committed data is in the file and in its
write-ahead log. The file itself changes only at a checkpoint, and the log only grows at its end. So a copy of both,
made while the file did not change, is the state at some moment. A file that can't be written is copied, too: then an
older format can be migrated, and a run that holds it where it can be written isn't disturbed.
"""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.errors import Location, Problem, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_TRIES = 20
BETWEEN_SECONDS = 0.1
# A killed reader leaves its copy behind, which contains row values.
OLD_SECONDS = 3600.0
_ELSEWHERE = "dbt-stripe-sync-copy-"
_HELD = ("another run holds the state", "wait for the run to end, or pass `--wait-for-lock SECONDS`")
_UNWRITABLE = ("the state can't be written", "free some space for temporary files, or name another folder in TMPDIR")


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """A private copy of a state that another process writes to; it is removed at the end. Raises `StateError`."""
    with place_for_copy(path) as copy:
        yield _copy(path, copy, _HELD)


@contextmanager
def copied_elsewhere(path: Path) -> Iterator[Path]:
    """The same among the temporary files, for a state that can't be written."""
    folder = Path(gettempdir())
    _remove_old(folder, _ELSEWHERE)
    with _private(path, folder, _ELSEWHERE, _UNWRITABLE) as copy:
        yield _copy(path, copy, _UNWRITABLE)


@contextmanager
def place_for_copy(path: Path) -> Iterator[Path]:
    """The path for a private copy of a state, which is removed at the end. Raises `StateError`."""
    # Next to the state, so on the same disk.
    with _private(path, path.parent, _prefix(path), _HELD) as copy:
        yield copy


def remove_old_copies(path: Path) -> None:
    """Remove the copies of readers that were killed."""
    _remove_old(path.parent, _prefix(path))


@contextmanager
def _private(path: Path, folder: Path, prefix: str, why: tuple[str, str]) -> Iterator[Path]:
    """A path in a new folder that only its owner may read."""
    try:
        made = folder / mkdtemp(prefix=prefix, dir=folder)
    except OSError as error:
        raise _not_copied(path, why, _reason(error)) from None
    try:
        yield made / path.name
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _remove_old(folder: Path, prefix: str) -> None:
    for old in folder.glob(f"{prefix}*"):
        with suppress(OSError):
            if old.stat().st_uid == os.geteuid() and time.time() - old.stat().st_mtime > OLD_SECONDS:
                shutil.rmtree(old, ignore_errors=True)


def _copy(path: Path, copy: Path, why: tuple[str, str]) -> Path:
    log, copied_log = (file.with_name(f"{file.name}.wal") for file in (path, copy))
    for _ in range(MOST_TRIES):
        try:
            before = _version(path)
            shutil.copyfile(path, copy)
            copied_log.unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                shutil.copyfile(log, copied_log)
            if _version(path) == before:
                return copy
        except OSError as error:
            raise _not_copied(path, why, _reason(error)) from None
        time.sleep(BETWEEN_SECONDS)
    raise _not_copied(path, why, "the run writes to it all the time")


def _version(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _prefix(path: Path) -> str:
    return f"{path.name}.copy-"


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _not_copied(path: Path, why: tuple[str, str], reason: str) -> StateError:
    what, hint = why
    return StateError(
        Problem(
            code="state-not-copied",
            summary=f"{what}, and it can't be copied for reading: {reason}",
            where=Location(file=str(path)),
            hint=hint,
        )
    )
