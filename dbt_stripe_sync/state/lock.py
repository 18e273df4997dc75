"""A lock file next to the state allows one writer, and says which process it is.

The operating system holds the lock, so a killed process releases it; the contents of the file are for people.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import orjson

from dbt_stripe_sync.model.errors import Location, Problem, StateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

POLL_SECONDS = 0.2
LOCKED = "state-locked"


@contextmanager
def hold_lock(state: Path, *, now: datetime, wait_seconds: float) -> Iterator[None]:
    """Hold the state's lock.

    Raises `StateError` if another run still holds it after `wait_seconds`. Raises `OSError` if the lock file can't be
    created.
    """
    path = state.with_name(f"{state.name}.lock")
    deadline = time.monotonic() + wait_seconds
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        while not _try_lock(file):
            left = deadline - time.monotonic()
            if left <= 0:
                raise StateError(_locked(state, file, wait_seconds))
            time.sleep(min(POLL_SECONDS, left))
        _write(file, {"pid": os.getpid(), "host": socket.gethostname(), "since": now.isoformat(timespec="seconds")})
        try:
            yield
        finally:
            _write(file, None)
            fcntl.flock(file, fcntl.LOCK_UN)


def names_holder(state: Path) -> bool:
    """Whether the lock file names a process: it holds the lock, or was killed.

    Only reads the file. To try the lock, even a reader would have to hold it for a moment, and a run that begins then
    would fail.
    """
    try:
        return state.with_name(f"{state.name}.lock").stat().st_size > 0
    except OSError:
        return False


def _try_lock(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(file: IO[bytes], holder: dict[str, object] | None) -> None:
    file.seek(0)
    file.truncate()
    file.write(orjson.dumps(holder) if holder else b"")
    file.flush()


def _locked(state: Path, file: IO[bytes], waited: float) -> Problem:
    file.seek(0)
    try:
        holder = orjson.loads(file.read())
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        who = "another process"
    return Problem(
        code=LOCKED,
        summary=f"another run holds the state: {who}" + (f" (waited {waited:g} s)" if waited else ""),
        where=Location(file=str(state)),
        hint="wait for it to end, or pass `--wait-for-lock SECONDS`; a killed run releases the state",
    )
