"""The tables `runs` and `outcomes`: what each run did, for `runs`, `report` and `retry`."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.codec import (
    decode_counts,
    decode_header,
    decode_owed,
    decode_problem,
    encode_counts,
    encode_header,
    encode_owed,
    encode_problem,
)
from dbt_stripe_sync.model.plan import PlanHeader
from dbt_stripe_sync.model.run import NOT_CONFIRMED, RunEntry, RunReport, RunStatus, Status
from dbt_stripe_sync.state.applied import KEPT_RUNS
from dbt_stripe_sync.state.problems import ambiguous_run
from dbt_stripe_sync.state.rows import parse_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager
    from datetime import datetime

    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.run import Outcome
    from dbt_stripe_sync.state.session import Session

# Outcomes contain what was sent, so they make up most of a state's size. Runs and their counts are kept.
OUTCOMES_KEPT = timedelta(days=90)
# Next to the counts of changes: how many of the requests changed nothing.
_READS = "reads"


class Outcomes:
    """The results of each change of a run, read lazily from the state, even after it is closed."""

    def __init__(self, run_id: str, open_session: Callable[[], AbstractContextManager[Session]]) -> None:
        self._run_id = run_id
        self._open_session = open_session

    def __iter__(self) -> Iterator[Outcome]:
        query = "SELECT * FROM outcomes WHERE run_id = $run ORDER BY finished_at, sync, key"
        with self._open_session() as session:
            for batch in session.batches(query, run=self._run_id):
                yield from (parse_outcome(row) for row in batch)


def read_syncs(session: Session, run_id: str) -> list[str]:
    """The syncs in which a run changed something."""
    query = "SELECT DISTINCT sync FROM outcomes WHERE run_id = $run AND status = $succeeded ORDER BY sync"
    return [row["sync"] for row in session.rows(query, run=run_id, succeeded=Status.SUCCEEDED.value)]


def read_succeeded(session: Session, run_id: str, sync: str, actions: AbstractSet[Action]) -> Iterator[Outcome]:
    """What a run did to the rows of a sync, of some kinds of action, by key."""
    query = (
        "SELECT * FROM outcomes WHERE run_id = $run AND sync = $sync AND status = $succeeded "
        "AND list_contains($actions, action) ORDER BY key, finished_at"
    )
    names = [action.value for action in actions]
    values = {"run": run_id, "sync": sync, "succeeded": Status.SUCCEEDED.value, "actions": names}
    for batch in session.batches(query, **values):
        yield from (parse_outcome(row) for row in batch)


def read_changed_twice(session: Session, run_id: str, sync: str) -> set[str]:
    """The rows of a sync that a run has changed more than once: it resolved one change, and sent another."""
    query = (
        "SELECT key FROM outcomes WHERE run_id = $run AND sync = $sync AND status = $succeeded "
        "AND json_extract_string(change, '$.id') = sync || '/' || key GROUP BY key HAVING count(*) > 1"
    )
    return {row["key"] for row in session.rows(query, run=run_id, sync=sync, succeeded=Status.SUCCEEDED.value)}


def find_replacing(session: Session, sync: str, key: str, former: str) -> str | None:
    """The run that replaced the object `former` of a row."""
    query = (
        "SELECT run_id FROM outcomes WHERE sync = $sync AND key = $key AND status = $succeeded AND action = $replace "
        "AND json_extract_string(change, '$.stripe_id') = $former ORDER BY finished_at DESC LIMIT 1"
    )
    values = {"succeeded": Status.SUCCEEDED.value, "replace": Action.REPLACE.value}
    found = session.value(query, sync=sync, key=key, former=former, **values)
    return None if found is None else str(found)


def save_start(
    session: Session, run_id: str, *, command: str, target: str, at: datetime, header: PlanHeader | None = None
) -> None:
    """Record that a run has begun, and that earlier runs without an end were killed."""
    session.run_id = run_id
    with session.transaction():
        session.execute(
            "UPDATE runs SET status = $dead WHERE status = $running",
            {"dead": RunStatus.INTERRUPTED.value, "running": RunStatus.RUNNING.value},
        )
        session.execute(
            f"DELETE FROM outcomes WHERE finished_at < $since AND run_id NOT IN ({KEPT_RUNS})",
            {"since": at - OUTCOMES_KEPT},
        )
        session.execute(
            "INSERT INTO runs(id, command, target, status, started_at, header) "
            "VALUES ($id, $command, $target, $status, $at, $header)",
            {
                "id": run_id,
                "command": command,
                "target": target,
                "status": RunStatus.RUNNING.value,
                "at": at,
                "header": _json(encode_header(header)) if header is not None else None,
            },
        )


def save_end(session: Session, report: RunReport) -> None:
    """Record how a run ended."""
    with session.transaction():
        session.execute(
            "UPDATE runs SET status = $status, finished_at = $at, header = $header, counts = $counts, "
            "problems = $problems, done = $done, requests = $requests, owed = $owed WHERE id = $id",
            {
                "id": report.run_id,
                "status": report.status.value,
                "at": report.finished_at,
                "header": _json(encode_header(report.header)),
                "counts": _json([encode_counts(counts) for counts in report.counts]),
                "problems": _json([encode_problem(problem) for problem in report.problems]),
                "done": _json({**report.done, _READS: report.reads}),
                "requests": report.requests,
                "owed": _json([encode_owed(step) for step in report.owed]),
            },
        )


def save_failure(session: Session, run_id: str, problems: Iterable[Problem], at: datetime) -> None:
    """Record that a run failed, and why; or that it was declined, if that is why."""
    problems = tuple(problems)
    status = RunStatus.DECLINED if any(one.code == NOT_CONFIRMED for one in problems) else RunStatus.FAILED
    with session.transaction():
        session.execute(
            "UPDATE runs SET status = $status, finished_at = $at, problems = $problems WHERE id = $id",
            {
                "id": run_id,
                "status": status.value,
                "at": at,
                "problems": _json([encode_problem(problem) for problem in problems]),
            },
        )


def read_runs(session: Session, limit: int) -> list[RunEntry]:
    """The newest runs first."""
    query = "SELECT * EXCLUDE (header, problems) FROM runs ORDER BY started_at DESC, id DESC LIMIT $limit"
    return [_entry(row, session) for row in session.rows(query, limit=limit)]


def read_report(session: Session, run_id: str, outcomes: Outcomes) -> RunReport | None:
    """The report of a run, or None.

    A killed run has no counts and no problems, but it has the outcomes of its changes.
    """
    rows = session.rows("SELECT * FROM runs WHERE id = $id", id=run_id)
    if not rows:
        return None
    row = rows[0]
    entry = _entry(row, session)
    return RunReport(
        run_id=run_id,
        header=decode_header(orjson.loads(row["header"])) if row["header"] else _header_of_killed(session, entry),
        status=entry.status,
        started_at=entry.started_at,
        finished_at=entry.finished_at or _last_outcome_at(session, run_id) or entry.started_at,
        counts=entry.counts,
        problems=tuple(decode_problem(problem) for problem in _values(row["problems"])),
        outcomes=outcomes,
        done=entry.done,
        requests=entry.requests,
        reads=entry.reads,
        owed=tuple(decode_owed(step) for step in _values(row["owed"])),
    )


def find_run(session: Session, begins: str) -> str | None:
    """The id of the run with this id, or with the only id that begins with it. Raises `StateError` if several do."""
    if not begins:
        return None  # an unset variable of a script, not a choice of a run
    query = "SELECT id FROM runs WHERE starts_with(id, $begins) ORDER BY started_at DESC, id DESC"
    found = [str(row["id"]) for row in session.rows(query, begins=begins)]
    if len(found) > 1 and begins not in found:
        raise ambiguous_run(begins, found)
    return begins if begins in found else next(iter(found), None)


def read_newest(session: Session) -> list[str]:
    """The last run that finished, and later ones that were killed or refused and so handled nothing."""
    query = (
        "SELECT id, finished_at IS NOT NULL AND NOT list_contains($refused, status) AS has_ended FROM runs "
        "ORDER BY started_at DESC, id DESC"
    )
    runs = session.rows(query, refused=[RunStatus.FAILED.value, RunStatus.DECLINED.value])
    last = next((index for index, run in enumerate(runs) if run["has_ended"]), len(runs))
    return [run["id"] for run in runs[: last + 1]]


def read_rejected(session: Session, run_ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """The keys of all rows that some runs did not finish, by sync: rejected, skipped or unknown."""
    keys: defaultdict[str, set[str]] = defaultdict(set)
    runs = list(run_ids)
    query = "SELECT DISTINCT sync, key FROM outcomes WHERE run_id IN (SELECT unnest($runs)) AND status <> $succeeded"
    for batch in session.batches(query, runs=runs, succeeded=Status.SUCCEEDED.value):
        for row in batch:
            keys[row["sync"]].add(row["key"])
    for run in session.rows("SELECT problems FROM runs WHERE id IN (SELECT unnest($runs))", runs=runs):
        for raw in _values(run["problems"]):
            where = decode_problem(raw).where
            if where.sync is not None and where.key is not None:
                keys[where.sync].add(where.key)
    return {sync: frozenset(found) for sync, found in keys.items()}


def find_interrupted(session: Session, run_ids: Sequence[str]) -> str | None:
    """The newest of some runs that was interrupted or killed."""
    query = "SELECT * EXCLUDE (header, problems) FROM runs WHERE id IN (SELECT unnest($runs)) ORDER BY started_at DESC"
    entries = (_entry(row, session) for row in session.rows(query, runs=list(run_ids)))
    return next((entry.id for entry in entries if entry.status is RunStatus.INTERRUPTED), None)


def _entry(row: Mapping[str, Any], session: Session) -> RunEntry:
    done: dict[str, int] = orjson.loads(row["done"]) if row["done"] else _count_outcomes(session, row["id"])
    reads = done.pop(_READS, None)
    status = RunStatus(row["status"])
    return RunEntry(
        id=row["id"],
        command=row["command"],
        target=row["target"],
        status=RunStatus.INTERRUPTED if status is RunStatus.RUNNING and _was_killed(row["id"], session) else status,
        started_at=_utc(row["started_at"]),
        finished_at=_utc(row["finished_at"]) if row["finished_at"] else None,
        done=done,
        requests=row["requests"] or 0,
        owed=len(_values(row["owed"])),
        reads=reads,
        counts=tuple(decode_counts(counts) for counts in _values(row["counts"])),
    )


def _was_killed(run_id: str, session: Session) -> bool:
    """Whether a run without an end was killed, which only the holder of the state's lock can tell."""
    return not session.is_held and run_id != session.run_id


def _count_outcomes(session: Session, run_id: str) -> dict[str, int]:
    query = "SELECT status, count(*) AS changes FROM outcomes WHERE run_id = $run GROUP BY status ORDER BY status"
    return {row["status"]: row["changes"] for row in session.rows(query, run=run_id)}


def _last_outcome_at(session: Session, run_id: str) -> datetime | None:
    last = session.value("SELECT max(finished_at) AS last FROM outcomes WHERE run_id = $run", run=run_id)
    return _utc(last) if last is not None else None


def _header_of_killed(session: Session, entry: RunEntry) -> PlanHeader:
    known = {row["key"]: row["value"] for row in session.rows("SELECT key, value FROM meta")}
    return PlanHeader(
        plan_id="",
        created_at=entry.started_at,
        project=known.get("project", ""),
        target=entry.target,
        account=known.get("account", ""),
        livemode=known.get("mode") == "live",
        api_version="",
        state_id=known["state_id"],
        state_serial=int(known["serial"]),
        manifest_digest="",
        version="",
    )


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _values(text: str | None) -> list[Any]:
    values: list[Any] = orjson.loads(text) if text else []
    return values


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
