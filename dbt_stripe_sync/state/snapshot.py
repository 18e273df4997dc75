"""Copies a state that a run holds, for reading.

DuckDB doesn't let a second process open a file that is being written. Committed data is in the file and in its
write-ahead log. The file itself changes only at a checkpoint, and the log only grows at its end. So a copy of both,
made while the file did not change, is the state at some moment.
"""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager, suppress
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.errors import Location, Problem, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_TRIES = 20
BETWEEN_SECONDS = 0.1
# A killed reader leaves its copy behind, which contains row values.
OLD_SECONDS = 3600.0


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """A private copy of a state that another process writes to; it is removed at the end. Raises `StateError`."""
    with place_for_copy(path) as copy:
        yield _copy(path, copy)


@contextmanager
def place_for_copy(path: Path) -> Iterator[Path]:
    """The path for a private copy of a state, which is removed at the end. Raises `StateError`."""
    try:
        # Only its owner can read it, and it is next to the state, so on the same disk.
        folder = path.parent / mkdtemp(prefix=_prefix(path), dir=path.parent)
    except OSError as error:
        raise _not_copied(path, (error.strerror or type(error).__name__).lower()) from None
    try:
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_old_copies(path: Path) -> None:
    """Remove the copies of readers that were killed."""
    for folder in path.parent.glob(f"{_prefix(path)}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > OLD_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def _copy(path: Path, copy: Path) -> Path:
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
            raise _not_copied(path, (error.strerror or type(error).__name__).lower()) from None
        time.sleep(BETWEEN_SECONDS)
    raise _not_copied(path, "the run writes to it all the time")


def _version(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _prefix(path: Path) -> str:
    return f"{path.name}.copy-"


def _not_copied(path: Path, why: str) -> StateError:
    return StateError(
        Problem(
            code="state-not-copied",
            summary=f"another run holds the state, and it can't be copied for reading: {why}",
            where=Location(file=str(path)),
            hint="wait for the run to end, or pass `--wait-for-lock SECONDS`",
        )
    )
