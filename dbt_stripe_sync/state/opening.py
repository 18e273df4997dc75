"""Locks, creates, opens and closes the state's file, or copies it for reading if it can't be locked."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import duckdb

from dbt_stripe_sync.model.errors import StateError
from dbt_stripe_sync.state.compaction import close_without_values, fresh_path
from dbt_stripe_sync.state.lock import LOCKED, hold_lock, names_holder
from dbt_stripe_sync.state.memory import choose_megabytes, choose_threads
from dbt_stripe_sync.state.migrations import migrate
from dbt_stripe_sync.state.place import LEASED, StatePlace
from dbt_stripe_sync.state.problems import READ_ONLY, cannot_open, cannot_write
from dbt_stripe_sync.state.session import PRIVATE, Session
from dbt_stripe_sync.state.snapshot import copied, copied_elsewhere, place_for_copy, remove_old_copies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.state.place import RemotePlace
    from dbt_stripe_sync.state.remote.replica import Replica


@contextmanager
def looked_at(place: StatePlace, clock: Clock, wait_seconds: float, *, must_exist: bool = False) -> Iterator[Session]:
    """A session for reading the state; if a run holds the state or it can't be written, of a copy.

    Raises `StateError`.
    """
    with ExitStack() as stack:
        try:
            session = stack.enter_context(opened(place, clock, wait_seconds, must_exist=must_exist))
        except StateError as error:
            path, code = _resolved(place.path), error.problems[0].code
            if place.remote is not None and code == LEASED:
                copy = stack.enter_context(_fetched(place.remote, path, clock, error))
            elif code == LOCKED and path.exists():
                copy = stack.enter_context(copied(path))
            elif place.remote is None and code == READ_ONLY and _is_readable(path):
                copy = stack.enter_context(copied_elsewhere(path))
            else:
                raise
            session = stack.enter_context(closing(Session(_connect(copy, place.memory_mb), path)))
            session.is_copy = True
            session.is_held = code != READ_ONLY or names_holder(path)
            session.copy_of = place if place.remote is not None else None
            migrate(session.connection, copy)
        yield session


@contextmanager
def _fetched(place: RemotePlace, path: Path, clock: Clock, leased: StateError) -> Iterator[Path]:
    """A copy of a state on an object store that a run on another machine holds. Raises `StateError`."""
    from dbt_stripe_sync.state.remote.reading import fetch_copy

    with place_for_copy(path) as copy:
        if not fetch_copy(place, copy, clock):
            raise leased  # its first run has written nothing yet
        yield copy


@contextmanager
def opened(place: StatePlace, clock: Clock, wait_seconds: float, *, must_exist: bool = False) -> Iterator[Session]:
    """An exclusive session of a state. Raises `StateError`."""
    path = place.path
    with ExitStack() as stack:
        replica: Replica | None = None
        try:
            # With a symbolic link, everything is next to the file itself: its log, its lock, and its replacement.
            path = _resolved(path)
            _check_is_file(path)
            _make_folder(path)
            stack.enter_context(hold_lock(path, now=clock.now(), wait_seconds=wait_seconds))
            remove_old_copies(path)
            if place.remote is not None:
                # The object store library is an optional extra, imported only when needed.
                from dbt_stripe_sync.state.remote.replica import replicated

                replica = stack.enter_context(
                    replicated(
                        place.remote,
                        path,
                        clock,
                        wait_seconds=wait_seconds,
                        must_exist=must_exist,
                        local=place.before,
                    )
                )
            # A run that was killed while it rewrote the file leaves a partial file.
            fresh_path(path).unlink(missing_ok=True)
            is_new = not path.exists()
            if is_new:
                _create(path)
            _keep_private(path)
        except OSError as error:
            raise cannot_write(path, error) from None
        for folder in (_spill_folder(path), scratch_folder(path)):
            # A killed run leaves its scratch folder, which contains row values.
            shutil.rmtree(folder, ignore_errors=True)
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        session = stack.enter_context(closing(Session(_connect(path, place.memory_mb), path)))
        is_changed = migrate(session.connection, path)
        if replica is not None:
            replica.attach(session, is_ahead=is_new or is_changed)
        stack.callback(_close, session)
        yield session


def _is_readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def check_creatable(path: Path) -> None:
    """Check that a state that doesn't exist yet can be created. Raises `StateError`."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise cannot_write(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def _resolved(path: Path) -> Path:
    """The file itself, if it is a symbolic link. Raises `StateError` if the path can't be that of a file."""
    try:
        return path.resolve() if path.is_symlink() else path
    except OSError as error:
        raise cannot_write(path, error) from None
    except RuntimeError:  # Python's own error for links in a circle, up to 3.12
        raise cannot_write(path, OSError(errno.ELOOP, os.strerror(errno.ELOOP))) from None


def _close(session: Session) -> None:
    session.left = close_without_values(session)


def _keep_private(path: Path) -> None:
    """Restrict a state file that others may read (a copy, or one that was created beforehand) to its owner.

    One that its owner protects from writes stays protected.
    """
    for file in (path, path.with_name(f"{path.name}.wal")):
        if file.exists() and (mode := file.stat().st_mode) & 0o077 and file.stat().st_uid == os.geteuid():
            file.chmod(mode & PRIVATE)


def _check_is_file(path: Path) -> None:
    """Check that the state is a file: a device such as /dev/null must not get its permissions. Raises `OSError`."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file")


def _make_folder(path: Path) -> None:
    folder = path.parent
    if not folder.exists():
        folder.mkdir(parents=True, mode=0o700)
        # The state contains what was sent to Stripe, so it does not belong in a repository.
        (folder / ".gitignore").write_text("*\n")


def _create(path: Path) -> None:
    """Create an empty state under another name first, so a run that is killed here leaves nothing incomplete."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    mask = os.umask(0o077)
    try:
        with closing(_connect(fresh)) as connection:
            migrate(connection, fresh)
        fresh.replace(path)
    except StateError:
        fresh.unlink(missing_ok=True)
        raise
    finally:
        os.umask(mask)


def _connect(path: Path, memory_mb: int | None = None) -> duckdb.DuckDBPyConnection:
    megabytes = choose_megabytes(memory_mb)
    try:
        connection = duckdb.connect(
            str(path),
            config={
                "memory_limit": f"{megabytes}MB",
                "temp_directory": str(_spill_folder(path)),
                "preserve_insertion_order": "false",
                # Everything needed comes with DuckDB: nothing is downloaded without the user's knowledge.
                "autoinstall_known_extensions": "false",
            },
        )
        # In a notebook, DuckDB would draw a progress bar into the caller's output.
        connection.execute("SET enable_progress_bar = false")
        ((available,),) = connection.execute("SELECT current_setting('threads')").fetchall()
        connection.execute(f"SET threads = {choose_threads(megabytes, available)}")
    except (duckdb.Error, OSError) as error:
        raise cannot_open(path, error) from None
    return connection


def _spill_folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")


def scratch_folder(path: Path) -> Path:
    """The folder for data that a run needs only while it lasts."""
    return path.with_name(f"{path.name}.run")
