"""The sandbox's data file: SQLite, with one transaction per request, so that a kill never leaves half a request."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import orjson

from dbt_stripe_sync.sandbox.idempotency import SavedAnswer
from dbt_stripe_sync.sandbox.store import Record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1

_SCHEMA = """
create table if not exists objects (
  account text, livemode int, kind text, id text, serial int, gone int, visible_at real, body blob, hidden blob,
  primary key (account, livemode, kind, id)
) without rowid;
create table if not exists answers (
  account text, livemode int, key text, fingerprint text, status int, body blob, request_id text, saved_at real,
  primary key (account, livemode, key)
) without rowid;
create table if not exists settings (name text primary key, value text);
"""

Place = tuple[str, bool]
"""An account's id and livemode."""


class DataFile:
    """The data file, to be used from a single thread. Raises `ValueError` if the file isn't one."""

    def __init__(self, path: Path) -> None:
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise ValueError(f"{path} can't be opened: {error}") from error
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise ValueError(f"{path} is not a data file of the sandbox: {error}") from error

    def _open(self) -> None:
        version = self._db.execute("pragma user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"it has format {version}, this version reads format {FORMAT}")
        self._db.execute("pragma journal_mode = wal")
        # Nothing is lost if the process is killed; only a crash of the machine could lose data.
        self._db.execute("pragma synchronous = off")
        self._db.executescript(_SCHEMA)
        self._db.execute(f"pragma user_version = {FORMAT}")

    def write(
        self,
        place: Place,
        written: list[Record],
        removed: list[tuple[str, str]],
        answer: tuple[str, SavedAnswer] | None,
    ) -> None:
        """Save one request's effects together with its answer."""
        if not written and not removed and answer is None:
            return
        account, live = place
        cursor = self._db.cursor()
        cursor.execute("begin immediate")
        cursor.executemany(
            "insert or replace into objects values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    account,
                    live,
                    r.kind,
                    r.id,
                    r.serial,
                    r.gone,
                    r.visible_at,
                    orjson.dumps(r.body),
                    orjson.dumps(r.hidden),
                )
                for r in written
            ],
        )
        cursor.executemany(
            "delete from objects where account = ? and livemode = ? and kind = ? and id = ?",
            [(account, live, kind, id_) for kind, id_ in removed],
        )
        if answer is not None:
            key, a = answer
            cursor.execute(
                "insert or replace into answers values (?, ?, ?, ?, ?, ?, ?, ?)",
                (account, live, key, a.fingerprint, a.status, a.body, a.request_id, a.saved_at),
            )
        cursor.execute("commit")

    def objects(self) -> Iterator[tuple[Place, Record]]:
        """Iterate over all objects in order of creation."""
        for row in self._db.execute("select * from objects order by serial"):
            account, live, kind, id_, serial, gone, visible_at, body, hidden = row
            record = Record(kind, id_, serial, orjson.loads(body), orjson.loads(hidden), bool(gone), visible_at)
            yield (account, bool(live)), record

    def answers(self) -> Iterator[tuple[Place, str, SavedAnswer]]:
        """Iterate over all saved answers."""
        for account, live, key, fingerprint, status, body, request_id, saved_at in self._db.execute(
            "select * from answers"
        ):
            yield (account, bool(live)), key, SavedAnswer(fingerprint, status, body, request_id, saved_at)

    def setting(self, name: str) -> str | None:
        """Return a value saved by `set_setting`, or None."""
        row = self._db.execute("select value from settings where name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def set_setting(self, name: str, value: str) -> None:
        """Save a value."""
        self._db.execute("insert or replace into settings values (?, ?)", (name, value))

    def clear(self) -> None:
        """Delete all objects, answers and settings."""
        self._db.executescript("delete from objects; delete from answers; delete from settings;")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
