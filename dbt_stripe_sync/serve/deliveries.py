"""The queue of deliveries on disk. Each is stored before it is answered, and is synced once."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
from msgspec import Struct

from dbt_stripe_sync.model.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dbt_stripe_sync.serve.webhook import Event

FILE = "queue.sqlite3"
VERSION = 1
QUEUED, RUNNING, SUPERSEDED = "queued", "running", "superseded"
# dbt Cloud keeps a delivery for 30 days, and may send it again.
KEPT_SECONDS = 90 * 24 * 60 * 60

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    job_id INTEGER NOT NULL,
    job_name TEXT NOT NULL,
    run_id INTEGER NOT NULL,
    run_status TEXT NOT NULL,
    received_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    sync_run TEXT,
    totals TEXT NOT NULL DEFAULT '{{}}',
    note TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_by_state ON deliveries (state, number);
CREATE TABLE IF NOT EXISTS counters (
    name TEXT NOT NULL, label TEXT NOT NULL, value INTEGER NOT NULL, PRIMARY KEY (name, label)
) STRICT;
PRAGMA user_version = {VERSION};
"""


class Delivery(Struct, frozen=True, kw_only=True):
    """A delivery and its result. `state` is `queued`, `running`, `superseded`, or how its sync ended."""

    number: int
    id: str
    state: str
    job_id: int
    job_name: str
    run_id: int
    received_at: float
    started_at: float | None
    finished_at: float | None
    totals: Mapping[str, int]
    note: str | None


class SyncEnd(Struct, frozen=True, kw_only=True):
    """How a sync ended: `state` is `succeeded`, `partial`, `failed`, `interrupted` or `superseded`."""

    state: str
    sync_run: str | None = None
    totals: Mapping[str, int] | None = None
    note: str | None = None


_COLUMNS = ", ".join(Delivery.__struct_fields__)


class Deliveries:
    """The queue. Every method is safe from any thread. Only one process may have it open."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        path = folder / FILE
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            # A delivery that was answered must still be there after a power cut.
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        except sqlite3.Error as error:
            raise ConfigError(_unusable(path, error)) from None

    def close(self) -> None:
        """Release the queue for another process."""
        with self._lock:
            self._db.close()

    def add(self, event: Event) -> bool:
        """Store a delivery; False if it was stored before. It is on disk when this returns."""
        with self._write() as db:
            done = db.execute(
                "INSERT INTO deliveries (id, state, job_id, job_name, run_id, run_status, received_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (event.id, QUEUED, event.job_id, event.job_name, event.run_id, event.status, time.time()),
            )
            is_new = done.rowcount == 1
            _count(db, "deliveries", "queued" if is_new else "duplicate", 1)
            return is_new

    def count_ignored(self) -> None:
        """Count an event that needs no sync."""
        with self._write() as db:
            _count(db, "deliveries", "ignored", 1)

    def requeue_running(self) -> int:
        """Queue the deliveries again that were running when the server ended; returns how many."""
        with self._write() as db:
            return db.execute("UPDATE deliveries SET state = ? WHERE state = ?", (QUEUED, RUNNING)).rowcount

    def begin_next(self) -> Delivery | None:
        """Start the oldest queued delivery; None if there is none."""
        with self._write() as db:
            row = db.execute(
                f"UPDATE deliveries SET state = ?, started_at = ?, attempts = attempts + 1 WHERE number ="
                f" (SELECT min(number) FROM deliveries WHERE state = ?) RETURNING {_COLUMNS}",
                (RUNNING, time.time(), QUEUED),
            ).fetchone()
        return _delivery(row) if row else None

    def end(self, delivery: Delivery, end: SyncEnd) -> None:
        """Store the result of its sync, and delete old deliveries."""
        totals = dict(end.totals or {})
        with self._write() as db:
            db.execute(
                "UPDATE deliveries SET state = ?, finished_at = ?, sync_run = ?, totals = ?, note = ? WHERE number = ?",
                (end.state, time.time(), end.sync_run, orjson.dumps(totals).decode(), end.note, delivery.number),
            )
            _count(db, "runs", end.state, 1)
            for status, count in totals.items():
                _count(db, "changes", status, count)
            db.execute(
                "DELETE FROM deliveries WHERE received_at < ? AND state NOT IN (?, ?)",
                (time.time() - KEPT_SECONDS, QUEUED, RUNNING),
            )

    def put_back(self, delivery: Delivery) -> None:
        """Queue a delivery again whose sync was interrupted by the server's own end."""
        with self._write() as db:
            db.execute("UPDATE deliveries SET state = ? WHERE number = ?", (QUEUED, delivery.number))

    def latest(self, limit: int) -> list[Delivery]:
        """The newest first."""
        with self._lock:
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM deliveries ORDER BY number DESC LIMIT ?", (limit,))
            return [_delivery(row) for row in rows]

    def waiting(self) -> int:
        """How many are queued."""
        with self._lock:
            (count,) = self._db.execute("SELECT count(*) FROM deliveries WHERE state = ?", (QUEUED,)).fetchone()
        return int(count)

    def running(self) -> Delivery | None:
        """The delivery whose sync is running."""
        with self._lock:
            row = self._db.execute(f"SELECT {_COLUMNS} FROM deliveries WHERE state = ?", (RUNNING,)).fetchone()
        return _delivery(row) if row else None

    def last_ended(self, state: str | None = None) -> Delivery | None:
        """The delivery whose sync ended last, or ended last in a certain state."""
        with self._lock:
            row = self._db.execute(
                f"SELECT {_COLUMNS} FROM deliveries WHERE finished_at IS NOT NULL AND state <> ?"
                " AND (? IS NULL OR state = ?) ORDER BY finished_at DESC LIMIT 1",
                (SUPERSEDED, state, state),
            ).fetchone()
        return _delivery(row) if row else None

    def counters(self) -> dict[tuple[str, str], int]:
        """Counts since the queue was made, by name and label."""
        with self._lock:
            return {(name, label): value for name, label, value in self._db.execute("SELECT * FROM counters")}

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _count(db: sqlite3.Connection, name: str, label: str, more: int) -> None:
    db.execute(
        "INSERT INTO counters VALUES (?, ?, ?) ON CONFLICT (name, label) DO UPDATE SET value = value + excluded.value",
        (name, label, more),
    )


def _delivery(row: tuple[object, ...]) -> Delivery:
    values = dict(zip(Delivery.__struct_fields__, row, strict=True))
    values["totals"] = orjson.loads(str(values["totals"]))
    return Delivery(**values)  # type: ignore[arg-type]


def _unusable(path: Path, error: sqlite3.Error) -> Problem:
    where = Location(file=str(path))
    if "locked" in str(error):
        return Problem(
            code="serve-in-use",
            summary="another `dbt-stripe-sync serve` has this queue open",
            where=where,
            hint="stop it, or give this one a folder of its own with `--folder`",
        )
    return Problem(
        code="serve-queue",
        summary=f"the queue can't be opened: {error}",
        where=where,
        hint="check the folder's permissions and free space; a damaged queue can be moved away, and dbt Cloud's "
        "next run starts a new one",
    )
