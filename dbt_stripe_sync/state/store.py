"""The DuckDB state store, and the only file that opens it: what was last written to Stripe, and what is under way."""

from __future__ import annotations

import errno
import shutil
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import duckdb
import orjson

from dbt_stripe_sync.engine.codec import decode_intent, encode_counts, encode_header, encode_problem
from dbt_stripe_sync.engine.types import RunStatus, Status
from dbt_stripe_sync.errors import Location, Problem, StateError
from dbt_stripe_sync.state.lock import hold_lock
from dbt_stripe_sync.state.migrations import MIGRATIONS, NEWEST
from dbt_stripe_sync.state.rows import (
    INTENTS,
    KEYS,
    OUTCOMES,
    RECORDS,
    build_table,
    intent_row,
    outcome_row,
    parse_outcome,
    parse_record,
    record_row,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from dbt_stripe_sync.engine.ports import Clock
    from dbt_stripe_sync.engine.types import Intent, Outcome, Record, RunReport

# What DuckDB may hold in memory before it spills to disk; rows are compared in it, so it bounds a run's memory.
MEMORY_LIMIT = "1GB"
BATCH_ROWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StateIdentity:
    """Whose objects a state remembers."""

    project: str
    account: str
    livemode: bool


class StateStore:
    """An open state. Implements `engine.ports.State`; everything raises `StateError`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, clock: Clock) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock

    @property
    def workspace(self) -> duckdb.DuckDBPyConnection:
        """The connection, for comparing rows with `records` in SQL."""
        return self._connection

    @property
    def state_id(self) -> str:
        """What tells this state from another one."""
        return str(self._meta("state_id"))

    @property
    def serial(self) -> int:
        """How many times records have been written."""
        return int(self._meta("serial") or 0)

    # ── under way ────────────────────────────────────────────────────────────────────────────────────────────────

    def open_intents(self) -> Iterator[Intent]:
        """Those without an outcome, oldest first."""
        for (body,) in self._all("SELECT body FROM intents ORDER BY opened_at, id"):
            yield decode_intent(orjson.loads(body))

    def commit(self, intents: Sequence[Intent], outcomes: Sequence[Outcome]) -> None:
        """Make intents, outcomes and records durable in one transaction."""
        now = self._clock.now()
        closed = [outcome for outcome in outcomes if outcome.status is not Status.UNKNOWN]
        gone = [outcome.intent_id for outcome in closed if outcome.intent_id is not None]
        newest = {intent.id: intent for intent in intents if intent.id not in gone}
        records = [outcome.record for outcome in closed if outcome.record is not None]
        without = [o for o in closed if o.status is Status.SUCCEEDED and o.record is None]
        with self._transaction():
            self._remove_intents([*gone, *newest])
            self._insert("intents", build_table(INTENTS, [intent_row(intent, now) for intent in newest.values()]))
            self._insert("outcomes", build_table(OUTCOMES, [outcome_row(outcome, now) for outcome in outcomes]))
            self._write_records(records, [(o.change.sync, o.change.key) for o in without], outcomes)

    def put_records(self, records: Sequence[Record], run_id: str) -> None:
        """Write records that need no call."""
        with self._transaction():
            self._replace_records([record_row(record, run_id, self._clock.now()) for record in records])

    # ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def start_run(self, run_id: str, *, command: str, target: str) -> None:
        """Remember that a run has begun."""
        self._run(
            "INSERT INTO runs(id, command, target, status, started_at) VALUES ($id, $command, $target, $status, $at)",
            id=run_id,
            command=command,
            target=target,
            status=RunStatus.RUNNING.value,
            at=self._clock.now(),
        )

    def finish_run(self, report: RunReport) -> None:
        """Remember how a run ended."""
        self._run(
            "UPDATE runs SET status = $status, finished_at = $at, header = $header, counts = $counts, "
            "problems = $problems, done = $done, requests = $requests WHERE id = $id",
            id=report.run_id,
            status=report.status.value,
            at=report.finished_at,
            header=_json(encode_header(report.header)),
            counts=_json([encode_counts(counts) for counts in report.counts]),
            problems=_json([encode_problem(problem) for problem in report.problems]),
            done=_json(dict(report.done)),
            requests=report.requests,
        )

    def outcomes(self, run_id: str) -> Outcomes:
        """What became of each change of a run; it can be walked while the state is open, and afterwards."""
        return Outcomes(self._path, run_id)

    # ── records ──────────────────────────────────────────────────────────────────────────────────────────────────

    def summary(self) -> list[tuple[str, str, int]]:
        """Each sync with its resource and its number of records."""
        rows = self._all("SELECT sync, resource, count(*) FROM records GROUP BY ALL ORDER BY sync")
        return [(str(sync), str(resource), int(count)) for sync, resource, count in rows]

    def list_records(self, sync: str, *, limit: int) -> list[Record]:
        """The first records of a sync, by key."""
        query = "SELECT * FROM records WHERE sync = $sync ORDER BY key LIMIT $limit"
        relation = self._connection.sql(query, params={"sync": sync, "limit": limit})
        return [parse_record(row) for row in relation.to_arrow_table().to_pylist()]

    def record(self, sync: str, key: str) -> Record | None:
        """One record."""
        query = "SELECT * FROM records WHERE sync = $sync AND key = $key"
        rows = self._connection.sql(query, params={"sync": sync, "key": key}).to_arrow_table().to_pylist()
        return parse_record(rows[0]) if rows else None

    def check_identity(self, identity: StateIdentity) -> None:
        """Compare with whom the state was made for; the first one that asks is remembered."""
        wanted = {
            "project": identity.project,
            "account": identity.account,
            "mode": "live" if identity.livemode else "test",
        }
        for name, value in wanted.items():
            known = self._meta(name)
            if known is None:
                self._run("INSERT INTO meta VALUES ($name, $value)", name=name, value=value)
            elif known != value:
                raise StateError(
                    Problem(
                        code=f"state-other-{name}",
                        summary=f"the state was made for {name} `{known}`, and this is `{value}`",
                        where=Location(file=str(self._path)),
                        hint="use the key and project that it belongs to, or another `--state-path` for this one",
                    )
                )

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _meta(self, name: str) -> str | None:
        rows = self._all("SELECT value FROM meta WHERE key = $name", name=name)
        return str(rows[0][0]) if rows else None

    def _write_records(
        self, records: Sequence[Record], without: Sequence[tuple[str, str]], outcomes: Sequence[Outcome]
    ) -> None:
        if not records and not without:
            return
        run_id = outcomes[0].run_id
        if without:
            self._fill("without", build_table(KEYS, without))
            self._connection.execute(
                "DELETE FROM records USING without WHERE records.sync = without.sync AND records.key = without.key"
            )
            self._connection.unregister("without")
        self._replace_records([record_row(record, run_id, self._clock.now()) for record in records])

    def _replace_records(self, rows: Sequence[tuple[Any, ...]]) -> None:
        newest = {row[:2]: row for row in rows}
        self._fill("incoming", build_table(RECORDS, list(newest.values())))
        self._connection.execute(
            """
            CREATE OR REPLACE TEMP TABLE replaced AS
            SELECT i.*, coalesce(r.created_at, i.written_at) AS created_at
            FROM incoming AS i LEFT JOIN records AS r ON r.sync = i.sync AND r.key = i.key
            """
        )
        self._connection.execute(
            "DELETE FROM records USING replaced AS i WHERE records.sync = i.sync AND records.key = i.key"
        )
        self._connection.execute(
            "INSERT INTO records SELECT sync, key, resource, stripe_id, params, payload_hash, source_hash, refs, "
            "removed, adopted, run_id, created_at, written_at FROM replaced"
        )
        self._connection.unregister("incoming")
        self._connection.execute("UPDATE meta SET value = CAST(value AS BIGINT) + 1 WHERE key = 'serial'")

    def _remove_intents(self, ids: Sequence[str]) -> None:
        if ids:
            self._connection.execute("DELETE FROM intents WHERE id IN (SELECT unnest($ids))", {"ids": list(ids)})

    def _insert(self, table: str, rows: pa.Table) -> None:
        if rows.num_rows:
            self._fill("incoming", rows)
            self._connection.execute(f"INSERT INTO {table} SELECT * FROM incoming")
            self._connection.unregister("incoming")

    def _fill(self, name: str, rows: pa.Table) -> None:
        self._connection.register(name, rows)

    def _all(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._connection.execute(query, values or None).fetchall()
        return rows

    def _run(self, statement: str, **values: Any) -> None:
        with self._transaction():
            self._connection.execute(statement, values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.begin()
            yield
            self._connection.commit()
        except (duckdb.IOException, duckdb.FatalException, duckdb.OutOfMemoryException) as error:
            self._roll_back()
            raise StateError(_unwritable(self._path, error)) from None
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        try:
            self._connection.rollback()
        except duckdb.Error:
            # A transaction that failed to commit is rolled back already.
            return


class Outcomes:
    """What became of each change of a run, read from the state's file as it is walked."""

    def __init__(self, path: Path, run_id: str) -> None:
        self._path = path
        self._run_id = run_id

    def __iter__(self) -> Iterator[Outcome]:
        with duckdb.connect(str(self._path), config=_settings(self._path)) as connection:
            query = "SELECT * FROM outcomes WHERE run_id = $run ORDER BY finished_at, sync, key"
            relation = connection.sql(query, params={"run": self._run_id})
            for batch in relation.to_arrow_reader(BATCH_ROWS):
                yield from (parse_outcome(row) for row in batch.to_pylist())


@contextmanager
def open_state(
    path: Path, *, identity: StateIdentity | None, clock: Clock, wait_seconds: float = 0
) -> Iterator[StateStore]:
    """Open the state, made on first use; `identity` is checked where it is given.

    Raises `StateError`: `state-locked`, `state-readonly`, `state-damaged`, `state-newer`, `state-other-…`.
    """
    _make_folder(path)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(path, now=clock.now(), wait_seconds=wait_seconds))
        except OSError as error:
            raise StateError(_readonly(path, error)) from None
        stack.callback(shutil.rmtree, _spill_folder(path), ignore_errors=True)
        connection = stack.enter_context(closing(_connect(path)))
        _migrate(connection, path)
        store = StateStore(connection, path, clock)
        if identity is not None:
            store.check_identity(identity)
        yield store


def _make_folder(path: Path) -> None:
    folder = path.parent
    try:
        if not folder.exists():
            folder.mkdir(parents=True, mode=0o700)
            # State holds what was sent to Stripe: it does not belong in a repository.
            (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise StateError(_readonly(path, error)) from None


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    is_new = not path.exists()
    try:
        connection = duckdb.connect(str(path), config=_settings(path))
    except (duckdb.Error, OSError) as error:
        raise StateError(_unopened(path, error)) from None
    if is_new:
        path.chmod(0o600)
    return connection


def _settings(path: Path) -> dict[str, str | bool | int | float | list[str]]:
    # The same wherever the file is opened: DuckDB opens a file twice in one process only with equal settings.
    return {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(_spill_folder(path)),
        "preserve_insertion_order": "false",
    }


def _spill_folder(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        version = _version(connection)
    except duckdb.Error as error:
        raise StateError(_unopened(path, error)) from None
    if version > NEWEST:
        raise StateError(
            Problem(
                code="state-newer",
                summary=f"the state has format {version}, and this version knows up to {NEWEST}",
                where=Location(file=str(path)),
                hint="upgrade dbt-stripe-sync to the version that wrote it, or a later one",
            )
        )
    if 0 < version < NEWEST:
        connection.execute("CHECKPOINT")
        shutil.copy2(path, path.with_name(f"{path.name}.before-{NEWEST}"))
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.begin()
        connection.execute(statements)
        if number == 1:
            connection.execute(
                "INSERT INTO meta VALUES ('version', '1'), ('state_id', $id), ('serial', '0')", {"id": uuid4().hex}
            )
        connection.execute("UPDATE meta SET value = $number WHERE key = 'version'", {"number": str(number)})
        connection.commit()


def _version(connection: duckdb.DuckDBPyConnection) -> int:
    tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if "meta" not in tables:
        if tables:
            raise duckdb.InvalidInputException("not a state")
        return 0
    rows = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchall()
    return int(rows[0][0]) if rows else 0


def _unopened(path: Path, error: Exception) -> Problem:
    if "lock" in str(error).lower():
        return Problem(
            code="state-locked",
            summary="another program has the state open",
            where=Location(file=str(path)),
            hint="close it (a DuckDB shell, for example), or pass `--wait-for-lock SECONDS`",
        )
    if isinstance(error, PermissionError) or "permission" in str(error).lower():
        return _readonly(path, error)
    return Problem(
        code="state-damaged",
        summary="the state can't be read",
        where=Location(file=str(path)),
        hint="put a backup in its place (`*.before-*`, `state export`), or move it away and run `state rebuild`; "
        "objects that we made carry our tag, so none is made twice",
    )


def _readonly(path: Path, error: Exception) -> Problem:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else "it may not be written"
    code = "disk-full" if isinstance(error, OSError) and error.errno == errno.ENOSPC else "state-readonly"
    return Problem(
        code=code,
        summary=f"the state can't be written: {reason}",
        where=Location(file=str(path)),
        hint="make its folder writable, or choose another with `--state-path`",
    )


def _unwritable(path: Path, error: duckdb.Error) -> Problem:
    text = str(error).lower()
    if "no space" in text or "disk" in text:
        return Problem(
            code="disk-full",
            summary="the state can't be written: the disk is full",
            where=Location(file=str(path)),
            hint="free some space and run again: nothing was sent that the state does not know",
        )
    return Problem(
        code="state-unwritable",
        summary=f"the state can't be written ({type(error).__name__})",
        where=Location(file=str(path)),
        hint="run again: nothing was sent that the state does not know; if it persists, check the disk",
    )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
