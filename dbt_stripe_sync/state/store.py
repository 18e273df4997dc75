"""The DuckDB state store: what was last written to Stripe, and which changes are open."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
from msgspec import Struct

from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.codec import decode_intent
from dbt_stripe_sync.model.plan import FormerObject, Touched
from dbt_stripe_sync.model.record import Record
from dbt_stripe_sync.model.run import Status
from dbt_stripe_sync.model.tables import build_table
from dbt_stripe_sync.state import applied, drift, owed, signing
from dbt_stripe_sync.state import records as saved
from dbt_stripe_sync.state import runs as log
from dbt_stripe_sync.state.compaction import note_values
from dbt_stripe_sync.state.opening import looked_at, opened, scratch_folder
from dbt_stripe_sync.state.place import StatePlace
from dbt_stripe_sync.state.problems import cannot_write, other_identity
from dbt_stripe_sync.state.rows import INTENTS, OUTCOMES, intent_row, outcome_row, record_row
from dbt_stripe_sync.state.sealing import conceal_outcomes, make_salt, read_fingerprints, seal_records
from dbt_stripe_sync.state.transfer import export_state, import_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime
    from pathlib import Path

    import duckdb
    import pyarrow as pa

    from dbt_stripe_sync.model.change import Owed
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.fingerprints import Fingerprints, Retention
    from dbt_stripe_sync.model.hashes import HashMark
    from dbt_stripe_sync.model.plan import PlanHeader, Refreshed
    from dbt_stripe_sync.model.run import Ended, Intent, Outcome, RunEntry, RunReport
    from dbt_stripe_sync.state.accepted import AcceptedHashes
    from dbt_stripe_sync.state.logged import LoggedState
    from dbt_stripe_sync.state.runs import Outcomes
    from dbt_stripe_sync.state.session import Session

# The prefix of an account that is only known by its key.
BY_KEY = "key_"
# How long a report that is read after its run waits for another run that has begun in the meantime.
REPORT_WAIT_SECONDS = 30.0


class StateIdentity(Struct, frozen=True, kw_only=True):
    """The account, mode and project that a state belongs to."""

    project: str
    account: str
    livemode: bool


class StateStore:
    """An open state. Implements `engine.ports.State`; all methods raise `StateError`."""

    def __init__(self, session: Session, clock: Clock, retention: Retention) -> None:
        self._session = session
        self._clock = clock
        self._plan_id: str | None = None
        # In a state of an earlier version: the digest of a key in place of the account.
        self.bound_to_key: str | None = None
        self._fingerprints = read_fingerprints(session, retention)

    @property
    def workspace(self) -> duckdb.DuckDBPyConnection:
        """The connection, for comparing rows with `records` in SQL."""
        return self._session.connection

    @property
    def scratch(self) -> Path:
        """An empty folder for data that a run needs only while it lasts.

        The next run removes the folder of a killed run.
        """
        folder = scratch_folder(self._session.path)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise cannot_write(self._session.path, error) from None
        return folder

    @property
    def fingerprints(self) -> Fingerprints:
        """The syncs whose values are stored, and the salts for all others."""
        return self._fingerprints

    @property
    def left(self) -> Problem | None:
        """After the state is closed: problems, such as values that could not be removed from its file."""
        return self._session.left

    @property
    def is_held(self) -> bool:
        """Whether a run holds the state itself, so that this is a copy."""
        return self._session.is_held

    @property
    def state_id(self) -> str:
        """The id of this state."""
        return str(self._meta("state_id"))

    @property
    def serial(self) -> int:
        """How many times records or open changes have been written."""
        return int(self._meta("serial") or 0)

    def check_held(self) -> None:
        """Check that this run may still write. Raises `StateError` if another run has taken the state over."""
        if self._session.replication is not None:
            self._session.replication.check_held()

    # ── under way ────────────────────────────────────────────────────────────────────────────────────────────────

    def hash_marks(self) -> Mapping[str, HashMark]:
        """For each sync, a digest of the hashes of its accepted rows."""
        return self.accepted.marks()

    def open_intents(self) -> Iterator[Intent]:
        """The intents without an outcome, oldest first."""
        for batch in self._session.batches("SELECT body FROM intents ORDER BY opened_at, id"):
            yield from (decode_intent(orjson.loads(row["body"])) for row in batch)

    def commit(self, intents: Sequence[Intent], outcomes: Sequence[Outcome]) -> None:
        """Store intents, outcomes and records in one transaction."""
        now = self._clock.now()
        closed = [outcome for outcome in outcomes if outcome.status is not Status.UNKNOWN]
        done = {outcome.intent_id for outcome in closed if outcome.intent_id is not None}
        newest = {intent.id: intent for intent in intents if intent.id not in done}
        records: dict[tuple[str, str], Record | None] = {}
        for outcome in closed:
            if not outcome.change.settles and (outcome.record is not None or outcome.status is Status.SUCCEEDED):
                records[outcome.change.sync, outcome.change.key] = outcome.record
        run_id = outcomes[0].run_id if outcomes else ""
        known = self._fingerprints
        kept = [record_row(record, run_id, now, known) for record in records.values() if record is not None]
        changes = [*(intent.change for intent in intents), *(outcome.change for outcome in outcomes)]
        has_values = not all(known.retention.keeps(change.sync) for change in changes)
        with self._session.transaction():
            if has_values:
                note_values(self._session)
            self._settle(outcomes, now)
            self._remove_intents([*done, *newest])
            self._insert("intents", build_table(INTENTS, [intent_row(intent, now) for intent in newest.values()]))
            self._insert("outcomes", build_table(OUTCOMES, [outcome_row(outcome, now, known) for outcome in outcomes]))
            gone = [row for row, record in records.items() if record is None]
            saved.remove_records(self._session, gone)
            drift.forget_drift(self._session, gone)
            saved.replace_records(self._session, kept)
            saved.drop_taken(self._session, closed, now)
            saved.add_former_ids(self._session, [former for outcome in closed for former in _former_ids(outcome)])
            # An intent alone is a write, too: its call may take effect, and an earlier plan doesn't know of it.
            saved.count_write(self._session)
            if self._plan_id is not None:
                applied.note_write(self._session, self._plan_id)

    def _settle(self, outcomes: Sequence[Outcome], now: datetime) -> None:
        """Store what is owed, and what Stripe lacks, from the outcomes. Inside a transaction."""
        owed.add_owed(self._session, [step for outcome in outcomes for step in outcome.owed], now)
        owed.settle_owed(self._session, [id_ for outcome in outcomes for id_ in outcome.settled])
        for outcome in outcomes:
            if outcome.refused_step is not None:
                owed.note_refused(self._session, outcome.refused_step, outcome.failure, outcome.request_id)
        missing = [(outcome.change.sync, outcome.change.key) for outcome in outcomes if outcome.is_object_missing]
        saved.note_missing(self._session, missing)

    def owed(self) -> list[Owed]:
        """The steps on other objects that changes still owe, oldest first."""
        return owed.read_owed(self._session)

    def settle(self, sync: str, key: str) -> int:
        """Drop the owed steps of a row, and return how many there were."""
        with self._session.transaction():
            saved.count_write(self._session)
            return owed.settle_row(self._session, sync, key)

    def known_objects(self, ids: Sequence[str], *, resource: str, sync: str, key: str) -> AbstractSet[str]:
        """Which of these objects belong to any row, and which this row had before."""
        rows = self._session.rows(
            "SELECT stripe_id FROM records WHERE resource = $resource AND stripe_id IN (SELECT unnest($ids)) UNION "
            "SELECT stripe_id FROM outcomes WHERE sync = $sync AND key = $key AND status = $succeeded",
            ids=list(ids),
            resource=resource,
            sync=sync,
            key=key,
            succeeded=Status.SUCCEEDED.value,
        )
        return {row["stripe_id"] for row in rows}

    def open_keys(self, sync: str) -> AbstractSet[str]:
        """The rows of a sync with an unresolved change."""
        return {row["key"] for row in self._session.rows("SELECT key FROM intents WHERE sync = $sync", sync=sync)}

    def put_records(self, records: Sequence[Record], run_id: str) -> None:
        """Write records that need no call."""
        now = self._clock.now()
        newest = {(record.sync, record.key): record_row(record, run_id, now, self._fingerprints) for record in records}
        with self._session.transaction():
            saved.replace_records(self._session, list(newest.values()))
            saved.count_write(self._session)

    def add_former_ids(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Remember objects (sync, key, id) that were replaced."""
        with self._session.transaction():
            saved.add_former_ids(self._session, rows)

    def refresh(self, entries: Sequence[Refreshed], run_id: str) -> None:
        """Write what a plan found in Stripe that the records lack."""
        now = self._clock.now()
        known = self._fingerprints
        records = {(e.sync, e.key): record_row(e, run_id, now, known) for e in entries if isinstance(e, Record)}
        former = [(e.sync, e.key, e.stripe_id) for e in entries if isinstance(e, FormerObject)]
        with self._session.transaction():
            if records:
                saved.replace_records(self._session, list(records.values()))
                saved.count_write(self._session)
            saved.touch_records(self._session, [e for e in entries if isinstance(e, Touched)], now)
            saved.add_former_ids(self._session, former)
            drift.note_read_back(self._session, entries)
            if self._plan_id is not None:
                applied.note_write(self._session, self._plan_id)

    def sign(self, digest: str) -> str:
        """The signature of a plan from this state, with a key that only the state has."""
        return signing.sign(self._session, digest)

    def has_signed(self, digest: str, signature: str) -> bool:
        """Whether a plan's signature is this state's."""
        return signing.has_signed(self._session, digest, signature)

    def seal(self) -> None:
        """Hash the values of syncs that no longer store any, in records and in recorded runs."""
        make_salt(self._session, self._fingerprints.retention)
        self._fingerprints = read_fingerprints(self._session, self._fingerprints.retention)
        seal_records(self._session, self._fingerprints)
        conceal_outcomes(self._session, self._fingerprints)

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def start_run(self, run_id: str, *, command: str, target: str, header: PlanHeader | None = None) -> None:
        """Record that a run has begun; `header` is that of the saved plan that it applies."""
        self._plan_id = header.plan_id if header is not None else None
        log.save_start(self._session, run_id, command=command, target=target, header=header, at=self._clock.now())

    def fail_run(self, run_id: str, problems: Sequence[Problem]) -> None:
        """Record that a run failed or was declined, and why."""
        log.save_failure(self._session, run_id, problems, self._clock.now())

    def finish_run(self, report: RunReport) -> None:
        """Record how a run ended."""
        log.save_end(self._session, report)

    def serial_after(self, plan_id: str) -> int | None:
        """The serial after the last apply of a saved plan; None if there was none, or another plan's since."""
        return applied.read_serial_after(self._session, plan_id)

    def ended_changes(self, plan_id: str) -> Mapping[str, Ended]:
        """The changes of a saved plan that earlier applies of it have finished, by their ids."""
        return applied.read_ended(self._session, plan_id)

    def runs(self, limit: int = 20) -> list[RunEntry]:
        """The runs, newest first. A killed run becomes `interrupted` once another has begun."""
        return log.read_runs(self._session, limit)

    def find_run(self, begins: str) -> str | None:
        """The run with this id, or whose id begins with it. Raises `StateError` if several do."""
        return log.find_run(self._session, begins)

    def last_run(self) -> str | None:
        """The id of the newest run."""
        return next((run.id for run in self.runs(limit=1)), None)

    def report(self, run_id: str) -> RunReport | None:
        """What a run did, or None if there was no such run."""
        return log.read_report(self._session, run_id, self.outcomes(run_id))

    def outcomes(self, run_id: str) -> Outcomes:
        """The results of each change of a run, readable even after the state is closed."""
        return log.Outcomes(run_id, self._reopened)

    def syncs_of_run(self, run_id: str) -> Sequence[str]:
        """The syncs in which a run changed something."""
        return log.read_syncs(self._session, run_id)

    def succeeded_in(self, run_id: str, sync: str, actions: AbstractSet[Action]) -> Iterator[Outcome]:
        """What a run did to the rows of a sync with some kinds of action, by key, read lazily."""
        return log.read_succeeded(self._session, run_id, sync, actions)

    def replaced_in(self, sync: str, key: str, former: str) -> str | None:
        """The run that replaced an object of a row, or None if the state no longer knows it."""
        return log.find_replacing(self._session, sync, key, former)

    def changed_twice(self, run_id: str, sync: str) -> AbstractSet[str]:
        """The rows of a sync that a run has changed more than once."""
        return log.read_changed_twice(self._session, run_id, sync)

    def last_rejected(self, run_id: str | None = None) -> Mapping[str, frozenset[str]]:
        """The keys, by sync, that a run (the last one) rejected, skipped or left unknown."""
        return log.read_rejected(self._session, [run_id] if run_id is not None else log.read_newest(self._session))

    def interrupted_run(self, run_id: str | None = None) -> str | None:
        """The run (the last one) if it was interrupted or killed before it had sent everything."""
        return log.find_interrupted(self._session, [run_id] if run_id is not None else log.read_newest(self._session))

    # ── records ──────────────────────────────────────────────────────────────────────────────────────────────────

    def summary(self) -> list[tuple[str, str, int]]:
        """Each sync with its resource and its number of records."""
        return saved.read_summary(self._session)

    def list_records(self, sync: str, *, limit: int | None = None) -> Iterator[Record]:
        """The first records of a sync by key, or all without a limit, read lazily."""
        return saved.read_records(self._session, sync, limit, self._fingerprints)

    def record(self, sync: str, key: str) -> Record | None:
        """One record."""
        return saved.read_record(self._session, sync, key, self._fingerprints)

    def written(self, sync: str, keys: Sequence[str]) -> Mapping[str, tuple[Record, str]]:
        """The records of some rows by key, each with the run that wrote it last."""
        return saved.read_written(self._session, sync, keys, self._fingerprints)

    def forget(self, sync: str, keys: Iterable[str]) -> int:
        """Drop everything known of some rows, including unresolved changes, and return how many there were.

        Their objects stay in Stripe, so the keys are remembered: the next run looks for their tag before it creates.
        """
        gone = list(dict.fromkeys(keys))
        undecided = self.open_keys(sync) & set(gone)
        only_open = {key for key in undecided if self.record(sync, key) is None}
        with self._session.transaction():
            saved.note_forgotten(self._session, sync, gone, list(undecided))
            saved.remove_parts(self._session, sync, gone)
            if undecided:
                self._session.execute(
                    "DELETE FROM intents WHERE sync = $sync AND key IN (SELECT unnest($keys))",
                    {"sync": sync, "keys": list(undecided)},
                )
            drift.forget_drift(self._session, [(sync, key) for key in gone])
            saved.count_write(self._session)
            return saved.remove_records(self._session, [(sync, key) for key in gone]) + len(only_open)

    def rename_sync(self, old: str, new: str, *, retag: bool) -> None:
        """Rename a sync's records; with `retag`, the next run updates their objects' tags."""
        with self._session.transaction():
            saved.rename_records(self._session, old, new, retag=retag)

    def export(self, folder: Path) -> None:
        """Write everything to Parquet files in a folder."""
        export_state(self._session, folder)

    def import_(self, folder: Path) -> int:
        """Fill a state without records from an export, and return its number of records."""
        return import_state(self._session, folder)

    def check_identity(self, identity: StateIdentity) -> None:
        """Compare with the identity that the state was created for; the first one is stored."""
        wanted = {
            "project": identity.project,
            "account": identity.account,
            "mode": "live" if identity.livemode else "test",
        }
        known = {name: self._meta(name) for name in wanted}
        if (bound := known["account"]) is not None and bound.startswith(BY_KEY):
            # An earlier version used the key in place of an account that it could not read.
            self.bound_to_key, known["account"] = bound, wanted["account"]
        for name, value in wanted.items():
            if (other := known[name]) is not None and other != value:
                raise other_identity(self._session.path, name, other, value)
        if None in known.values():
            with self._session.transaction():
                for name, value in wanted.items():
                    self._session.execute(
                        "INSERT OR REPLACE INTO meta VALUES ($name, $value)", {"name": name, "value": value}
                    )

    def bind_to(self, account: str) -> None:
        """Bind the state to this account, in place of the key that it was bound to."""
        with self._session.transaction():
            self._session.execute("UPDATE meta SET value = $account WHERE key = 'account'", {"account": account})
        self.bound_to_key = None

    @property
    def accepted(self) -> AcceptedHashes:
        """The hashes of rows as last accepted."""
        from dbt_stripe_sync.state.accepted import AcceptedHashes  # for the warehouse's copy of the hashes

        return AcceptedHashes(self._session)

    @property
    def logged(self) -> LoggedState:
        """The data of this state for the warehouse's log."""
        from dbt_stripe_sync.state.logged import LoggedState  # for a log in the warehouse

        return LoggedState(self._session)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _meta(self, name: str) -> str | None:
        value = self._session.value("SELECT value FROM meta WHERE key = $name", name=name)
        return str(value) if value is not None else None

    def _remove_intents(self, ids: Sequence[str]) -> None:
        if ids:
            self._session.execute("DELETE FROM intents WHERE id IN (SELECT unnest($ids))", {"ids": list(ids)})

    def _insert(self, table: str, rows: pa.Table) -> None:
        if rows.num_rows:
            with self._session.registered("state_incoming", rows):
                self._session.execute(f"INSERT INTO {table} BY NAME SELECT * FROM state_incoming")

    @contextmanager
    def _reopened(self) -> Iterator[Session]:
        if self._session.is_open:
            yield self._session
        else:
            place = self._session.copy_of or StatePlace(path=self._session.path)
            wait = 0.0 if self._session.is_copy else REPORT_WAIT_SECONDS
            reopen = looked_at if self._session.is_copy else opened
            with reopen(place, self._clock, wait) as session:
                yield session


def _former_ids(outcome: Outcome) -> Iterator[tuple[str, str, str]]:
    """The object that a new one has replaced, because others may still refer to it."""
    change = outcome.change
    is_new = outcome.record is not None and outcome.record.stripe_id != change.stripe_id
    if change.action is Action.REPLACE and change.stripe_id is not None and is_new:
        yield change.sync, change.key, change.stripe_id
