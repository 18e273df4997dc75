"""Writes the log of a remote state during one run: each transaction as it commits, and snapshots."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

import duckdb

from dbt_stripe_sync.model.errors import StateError
from dbt_stripe_sync.model.sql import literal, quoted
from dbt_stripe_sync.state.problems import cannot_write
from dbt_stripe_sync.state.remote import problems
from dbt_stripe_sync.state.remote.copy import (
    forget_position,
    note_address,
    note_position,
)
from dbt_stripe_sync.state.remote.lease import Lease
from dbt_stripe_sync.state.remote.log import (
    Entry,
    Position,
    build_write,
    encode,
    name_of,
)
from dbt_stripe_sync.state.remote.objects import TakenError, open_objects
from dbt_stripe_sync.state.remote.reading import LogEnd, read_head, read_to_end
from dbt_stripe_sync.state.remote.snapshots import (
    BEGUN_KEPT,
    HEAD,
    KEPT_SNAPSHOTS,
    Begun,
    Head,
    encode_head,
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
