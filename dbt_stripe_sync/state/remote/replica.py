"""A remote state during one run: a copy at the end of the log, and each transaction added to the log as it commits."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Literal

import duckdb
from msgspec import Struct, field

from dbt_stripe_sync.model.errors import StateError
from dbt_stripe_sync.model.sql import literal, quoted
from dbt_stripe_sync.state.problems import cannot_write
from dbt_stripe_sync.state.remote import problems
from dbt_stripe_sync.state.remote.copy import (
    forget_position,
    note_address,
    note_position,
    opened_copy,
    read_position,
    replay,
    set_position,
)
from dbt_stripe_sync.state.remote.lease import Lease
from dbt_stripe_sync.state.remote.log import (
    START,
    BadEntryError,
    Entry,
    Position,
    build_write,
    decode,
    encode,
    name_of,
    statements_of,
)
from dbt_stripe_sync.state.remote.objects import TakenError, open_objects
from dbt_stripe_sync.state.remote.snapshots import (
    BEGUN_KEPT,
    HEAD,
    KEPT_SNAPSHOTS,
    Begun,
    Head,
    decode_head,
    download_snapshot,
    encode_head,
    entries_after,
    remove_old,
    upload_snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.state.place import RemotePlace
    from dbt_stripe_sync.state.remote.log import Snapshot
    from dbt_stripe_sync.state.remote.objects import Objects
    from dbt_stripe_sync.state.session import Session, Statement

# During a run, a snapshot is taken after this many entries since the last one, if they are this share of its size.
ENTRIES_PER_SNAPSHOT = 1_000
SHARE_OF_SNAPSHOT = 0.5
# And in any case after this many, since the next run has to read them all.
MOST_ENTRIES = 10_000
# At the end of a run, a large snapshot is kept if the next run has to replay no more than this.
FEW_ENTRIES = 20
SMALL_SHARE = 0.05
LARGE_SNAPSHOT = 1 << 20
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


class Replica:
    """Implements `state.session.Replication` for one run. Everything raises `StateError`."""

    def __init__(self, objects: Objects, path: Path, clock: Clock) -> None:
        self._objects = objects
        self._path = path
        self._clock = clock
        self._session: Session | None = None
        self._run: str | None = None
        self.lease = Lease(objects, clock, lambda: self._run)
        self._end = LogEnd()
        # Whether the copy contains what no replay of the log gives, and whether it lacks the log's last entry.
        self._is_ahead = False
        self._is_behind = False
        # The error that kept an entry from being written. Nothing is written after it.
        self._failed: StateError | None = None

    # ── getting there ────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, *, was_released: bool, must_exist: bool, local: Path | None) -> None:
        """Update the copy to the end of the log.

        `local` is a state on this machine that the store might lack. After a run that never released its lease, this
        one begins with an entry, so that the other can write none.
        """
        self._catch_up()
        if self._end.is_new:
            if must_exist:
                raise problems.no_remote_state(self._objects.place)
            if local is not None and local.exists():
                raise problems.not_moved(self._objects.place, str(local))
            self._check_conditions()
            return
        while not was_released:
            entry = self._entry("begin")
            try:
                self._append(entry)
            except TakenError:
                # The other one has written something in the meantime.
                self._catch_up()
                continue
            self._end.begun.append(Begun(number=entry.number, at=self._clock.now()))
            return

    def _check_conditions(self) -> None:
        """Check that the store rejects overwrites, which everything here depends on."""
        for tag in (None, self._objects.unused_tag):
            body = f"{os.urandom(8).hex()}\n".encode()
            with suppress(TakenError):
                if tag is None:
                    self._objects.create("lease.json", body)
                else:
                    self._objects.replace("lease.json", body, tag)
                raise problems.no_conditions(self._objects.place)

    def _catch_up(self) -> None:
        self._end = read_to_end(self._objects, self._path, self._clock)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def attach(self, session: Session, *, is_ahead: bool) -> None:
        """Replicate what a session writes from now on; `is_ahead` says that its file has what the log lacks."""
        self._session = session
        self._is_ahead = is_ahead
        if is_ahead:
            with session.transaction():
                note_address(session, str(self._objects.place))
                forget_position(session)
        session.replication = self

    def check_held(self) -> None:
        """Whether this run may still write."""
        self.lease.check()

    def before_transaction(self, session: Session, *, replayable: bool) -> None:
        """Take a snapshot if one is due."""
        if self._failed is not None:
            raise self._failed
        if self._is_behind:
            # Another entry after the missing one would leave a gap in the copy.
            raise cannot_write(self._path, duckdb.Error())
        self.check_held()
        if session.run_id != self._run:
            self._run = session.run_id
            self.lease.renew()
            self.check_held()
        if replayable and (self._is_ahead or self._is_due()):
            self._fold_open(session)

    def before_commit(self, session: Session, statements: Sequence[Statement], *, replayable: bool) -> None:
        """Add what was executed to the log, before the file has it."""
        self.check_held()
        if not replayable:
            self._is_ahead = True
            forget_position(session)
            return
        entry = build_write(
            self._end.position, statements, run=self._run, holder=self.lease.holder, lease=self.lease.token
        )
        try:
            size = self._append(entry)
        except TakenError:
            raise self.lease.lose("another run has written to it") from None
        self._is_behind = True
        note_position(session, self._end.position)
        self._end.entries += 1
        self._end.size += size

    def after_commit(self) -> None:
        """The copy now has what the log has."""
        self._is_behind = False

    def _append(self, entry: Entry) -> int:
        body, digest = encode(entry)
        try:
            self._objects.create(name_of(entry.number), body)
        except StateError as error:
            # It may be in the log anyway. Only a run that has read the log again may continue it.
            self._failed = error
            raise
        self._end.position = Position(number=entry.number, digest=digest)
        return len(body)

    def _entry(self, kind: Literal["begin", "snapshot"], snapshot: Snapshot | None = None) -> Entry:
        return Entry(
            number=self._end.position.number + 1,
            previous=self._end.position.digest,
            kind=kind,
            run=self._run,
            holder=self.lease.holder,
            lease=self.lease.token,
            snapshot=snapshot,
        )

    # ── folding ──────────────────────────────────────────────────────────────────────────────────────────────────

    def finish(self, *, in_haste: bool) -> None:
        """Take the last snapshot of a closed session, unless `in_haste`, and release the lease."""
        session = self._session
        try:
            if self.lease.is_lost or self._failed is not None or self._is_behind or session is None or in_haste:
                return
            if self._is_ahead or session.was_rewritten or self._is_worth_it():
                self.check_held()
                self._fold(self._path, snapshots=1 if session.was_rewritten else KEPT_SNAPSHOTS)
        except StateError as error:
            if self._is_ahead or session is None:
                raise
            session.left = session.left or problems.not_folded(self._objects.place, error)
        finally:
            self.lease.release()

    def _is_due(self) -> bool:
        size = self._end.head.snapshot.size if self._end.head is not None else 0
        is_much = self._end.entries >= ENTRIES_PER_SNAPSHOT and self._end.size >= size * SHARE_OF_SNAPSHOT
        return is_much or self._end.entries >= MOST_ENTRIES

    def _is_worth_it(self) -> bool:
        if not self._end.entries or self._end.head is None:
            return self._end.entries > 0
        size = self._end.head.snapshot.size
        is_little = self._end.entries <= FEW_ENTRIES and self._end.size <= size * SMALL_SHARE
        return not (is_little and size > LARGE_SNAPSHOT)

    def _fold_open(self, session: Session) -> None:
        """Take a snapshot of an open file: a new file with the contents of its tables, and nothing else."""
        fresh = self._path.with_name(f"{self._path.name}.fold")
        fresh.unlink(missing_ok=True)
        mask = os.umask(0o077)
        try:
            with session.connection.cursor() as cursor:
                (name,) = cursor.execute("SELECT current_database()").fetchall()[0]
                cursor.execute(f"ATTACH {literal(str(fresh))} AS folded").fetchall()
                try:
                    cursor.execute(f"COPY FROM DATABASE {quoted(name)} TO folded").fetchall()
                finally:
                    cursor.execute("DETACH folded").fetchall()
            self._fold(fresh)
        except (duckdb.Error, OSError) as error:
            raise cannot_write(self._path, error) from None
        finally:
            os.umask(mask)
            fresh.unlink(missing_ok=True)

    def _fold(self, file: Path, *, snapshots: int = KEPT_SNAPSHOTS) -> None:
        previous = self._end.position
        snapshot = upload_snapshot(
            self._objects, file, previous.number + 1, replayable=not self._is_ahead and not self._end.is_new
        )
        try:
            self._append(self._entry("snapshot", snapshot))
        except TakenError:
            raise self.lease.lose("another run has written to it") from None
        self._is_ahead = False
        self._end.entries, self._end.size = 0, 0
        since = self._clock.now() - BEGUN_KEPT
        self._end.begun = [begun for begun in self._end.begun if begun.at > since]
        head = Head(
            number=self._end.position.number,
            digest=self._end.position.digest,
            previous=previous.digest,
            snapshot=snapshot,
            begun=tuple(self._end.begun),
            written_at=self._clock.now(),
        )
        if self._put_head(head):
            # Objects that are left behind cost little space, and are removed next time.
            with suppress(StateError):
                remove_old(self._objects, head, snapshots=snapshots)

    def _put_head(self, head: Head) -> bool:
        """Point the head at this snapshot, unless it already names a newer one; returns whether it did."""
        body = encode_head(head)
        while True:
            with suppress(TakenError):
                if self._end.head_tag is None:
                    self._end.head_tag = self._objects.create(HEAD, body)
                else:
                    self._end.head_tag = self._objects.replace(HEAD, body, self._end.head_tag)
                self._end.head = head
                return True
            other, tag = read_head(self._objects)
            if other is not None and other.number >= head.number:
                return False
            self._end.head_tag = tag


def fetch_copy(place: RemotePlace, file: Path, clock: Clock) -> bool:
    """Download a remote state as it is now into a file, even if another run holds it.

    Returns whether it exists. Takes no lease, and writes nothing to the store. Raises `StateError`.
    """
    return not read_to_end(open_objects(place), file, clock).is_new


@contextmanager
def replicated(
    place: RemotePlace, path: Path, clock: Clock, *, wait_seconds: float, must_exist: bool, local: Path | None
) -> Iterator[Replica]:
    """The local copy of a remote state, updated and protected by a lease while the context lasts.

    The caller passes the session of the opened file to `attach`, and closes it before the context ends. Raises
    `StateError`.
    """
    replica = Replica(open_objects(place), path, clock)
    was_released = replica.lease.acquire(wait_seconds)
    in_haste = True
    try:
        replica.begin(was_released=was_released, must_exist=must_exist, local=local)
        yield replica
        in_haste = False
    except StateError:
        in_haste = False
        raise
    except Exception:
        # This is the program's own failure: what was written is still worth a snapshot.
        in_haste = False
        raise
    finally:
        replica.finish(in_haste=in_haste)
