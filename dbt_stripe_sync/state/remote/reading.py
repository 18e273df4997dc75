"""Reads the log of a remote state, and updates the local copy to its end."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct, field

from dbt_stripe_sync.state.remote import problems
from dbt_stripe_sync.state.remote.copy import opened_copy, read_position, replay, set_position
from dbt_stripe_sync.state.remote.log import (
    START,
    BadEntryError,
    Entry,
    Position,
    decode,
    name_of,
    statements_of,
)
from dbt_stripe_sync.state.remote.objects import open_objects
from dbt_stripe_sync.state.remote.snapshots import HEAD, Begun, Head, decode_head, download_snapshot, entries_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import duckdb

    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.state.place import RemotePlace
    from dbt_stripe_sync.state.remote.log import Snapshot
    from dbt_stripe_sync.state.remote.objects import Objects

READ_AT_ONCE = 8
# How often to read the log again if its holder truncates it in the meantime, and how long to wait.
TRIES = 20
BETWEEN_SECONDS = 0.1


class _MovedError(Exception):
    """An object was removed before it could be read, because another run has truncated the log."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class LogEnd(Struct, kw_only=True):
    """The end of the log, as the copy has it.

    `head` names the newest snapshot, and `head_tag` is the store's tag of it. `begun` are the first entries of runs.
    `entries` and `size` (in bytes) count what came after the snapshot.
    """

    position: Position = START
    head: Head | None = None
    head_tag: str | None = None
    begun: list[Begun] = field(default_factory=list)
    entries: int = 0
    size: int = 0

    @property
    def is_new(self) -> bool:
        """Whether the store has nothing of this state yet."""
        return self.position == START


def read_to_end(objects: Objects, path: Path, clock: Clock) -> LogEnd:
    """Update the copy to the end of the log, without the lease. Raises `StateError`."""
    missing = ""
    for _ in range(TRIES):
        try:
            return _Reading(objects, path, clock).read()
        except _MovedError as error:
            if error.name == missing:
                break  # not truncated by anybody: it is missing
            missing = error.name
            time.sleep(BETWEEN_SECONDS)
    raise problems.incomplete(objects.place, missing)


def read_head(objects: Objects) -> tuple[Head | None, str | None]:
    """The head and the store's tag of it, None if there is none. Raises `StateError` if it was changed."""
    found = objects.get(HEAD)
    if found is None:
        return None, None
    head = decode_head(found.body)
    if head is None:
        raise problems.wrong_digest(objects.place, HEAD)
    return head, found.tag


class _Reading:
    """One attempt to update the copy."""

    def __init__(self, objects: Objects, path: Path, clock: Clock) -> None:
        self._objects = objects
        self._path = path
        self._clock = clock
        self._end = LogEnd()

    def read(self) -> LogEnd:
        place, end = self._objects.place, self._end
        end.head, end.head_tag = read_head(self._objects)
        end.begun = list(end.head.begun) if end.head is not None else []
        base = end.head.position if end.head is not None else START
        numbers = entries_after(self._objects, base.number)
        local = read_position(self._path, str(place))
        last = numbers[-1] if numbers else base.number
        if local is not None and local.number > last:
            raise problems.older_than_copy(place, str(self._path), local.number, last)
        end.entries = len(numbers)
        if local is not None and self._is_on_the_way(local, base):
            end.position = max(local, base, key=lambda position: position.number)
        else:
            end.position = base
            if end.head is not None:
                self._download(end.head.snapshot, base)
            else:
                self._path.unlink(missing_ok=True)
        self._replay([number for number in numbers if number > end.position.number])
        return end

    def _is_on_the_way(self, local: Position, base: Position) -> bool:
        """Whether the copy has the log up to some entry, so that only later entries are missing."""
        head = self._end.head
        if local == base:
            return True
        if head is not None and (local.number, local.digest) == (head.number - 1, head.previous):
            return head.snapshot.replayable
        return local.number > base.number and self._fetch(local.number)[1] == local.digest

    def _fetch(self, number: int) -> tuple[Entry, str, int]:
        name = name_of(number)
        found = self._objects.get(name)
        if found is None:
            raise _MovedError(name)
        try:
            entry, digest = decode(found.body)
        except BadEntryError:
            raise problems.wrong_digest(self._objects.place, name) from None
        if entry.number != number:
            raise problems.wrong_digest(self._objects.place, name)
        return entry, digest, len(found.body)

    def _replay(self, numbers: Sequence[int]) -> None:
        """Replay the entries in order; each must have the digest of the one before it."""
        place = self._objects.place
        with ExitStack() as stack:
            connection: duckdb.DuckDBPyConnection | None = None
            for entry, digest, size in self._fetch_all(numbers):
                if entry.number != self._end.position.number + 1:
                    raise problems.incomplete(place, name_of(self._end.position.number + 1))
                if entry.previous != self._end.position.digest:
                    raise problems.wrong_digest(place, name_of(entry.number))
                position = Position(number=entry.number, digest=digest)
                self._end.size += size
                if entry.kind == "begin":
                    self._end.begun.append(Begun(number=entry.number, at=self._clock.now()))
                elif entry.kind == "write":
                    connection = connection or stack.enter_context(opened_copy(self._path))
                    replay(connection, statements_of(entry), position)
                elif entry.snapshot is not None and not (entry.snapshot.replayable and self._path.exists()):
                    stack.close()
                    connection = None
                    self._download(entry.snapshot, position)
                self._end.position = position

    def _fetch_all(self, numbers: Sequence[int]) -> Iterator[tuple[Entry, str, int]]:
        """Entries in order, read concurrently."""
        left = iter(numbers)
        with ThreadPoolExecutor(READ_AT_ONCE, "state-log") as readers:
            while some := list(islice(left, READ_AT_ONCE * 4)):
                yield from readers.map(self._fetch, some)

    def _download(self, snapshot: Snapshot, position: Position) -> None:
        is_whole = download_snapshot(self._objects, snapshot, self._path)
        if is_whole is None:
            raise _MovedError(snapshot.name)
        if not is_whole:
            raise problems.wrong_digest(self._objects.place, snapshot.name)
        with opened_copy(self._path) as connection:
            set_position(connection, position, str(self._objects.place))


def fetch_copy(place: RemotePlace, file: Path, clock: Clock) -> bool:
    """Download a remote state as it is now into a file, even if another run holds it.

    Returns whether it exists. Takes no lease, and writes nothing to the store. Raises `StateError`.
    """
    return not read_to_end(open_objects(place), file, clock).is_new
