"""Checks whether the rows of an export are valid in a state. Each is read as a run would read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from dbt_stripe_sync.model.codec import (
    decode_change,
    decode_counts,
    decode_failure,
    decode_header,
    decode_intent,
    decode_owed,
    decode_params,
    decode_problem,
)
from dbt_stripe_sync.model.run import RunStatus
from dbt_stripe_sync.model.tables import read_rows
from dbt_stripe_sync.state.owed import parse_owed
from dbt_stripe_sync.state.rows import parse_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dbt_stripe_sync.state.session import Session

ROWS_AT_ONCE = 1_000
Row = dict[str, Any]
_NAMED = ("sync", "key", "resource", "stripe_id")
_KEPT_FOR_GOOD = ("version", "state_id", "serial")


class BadRowError(Exception):
    """A row that is invalid in any state. The message says what is wrong, without its values."""


def find_bad_row(session: Session, table: str) -> str | None:
    """What is wrong with the first invalid row of a table, or None. Inside the transaction that filled it."""
    check = CHECKS[table]
    number = 0
    try:
        for row in _rows(session, table):
            number += 1
            check(row)
        number = 0
        _check_table(session, table)
    except BadRowError as error:
        return f"row {number:,} of `{table}` {error}" if number else f"`{table}` {error}"
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return f"row {number:,} of `{table}` can't be read"
    return None


def _rows(session: Session, table: str) -> Iterator[Row]:
    # On the connection itself, because another cursor does not see what its transaction has written.
    for batch in session.connection.sql(f"SELECT * FROM {table}").to_arrow_reader(ROWS_AT_ONCE):
        yield from read_rows(batch)


def _check_table(session: Session, table: str) -> None:
    """Check what involves several rows."""
    unique = {"records": "sync, key", "intents": "id", "owed": "id", "runs": "id", "meta": "key"}.get(table)
    if unique is not None:
        query = f"SELECT count(*) FROM (SELECT {unique} FROM {table} GROUP BY ALL HAVING count(*) > 1)"
        if session.connection.execute(query).fetchall()[0][0]:
            raise BadRowError(f"has two rows with the same {unique}")
    if table == "meta":
        values: Mapping[str, Any] = dict(session.connection.execute(f"SELECT key, value FROM {table}").fetchall())
        for name in _KEPT_FOR_GOOD:
            if not values.get(name):
                raise BadRowError(f"lacks the state's {name}")
        int(values["serial"])


def _check_named(row: Row, names: tuple[str, ...]) -> None:
    for name in names:
        if not isinstance(row[name], str) or not row[name]:
            raise BadRowError(f"has no {name}")


def _check_record(row: Row) -> None:
    _check_named(row, _NAMED)
    params = decode_params(orjson.loads(row["params"]))
    if not isinstance(params, dict):
        raise BadRowError("has parameters that are not a mapping")
    _check_named(row, ("payload_hash",))
    for name in ("removed", "adopted"):
        if not isinstance(row[name], bool):
            raise BadRowError(f"does not say whether it is {name}")
    if not isinstance(row["refs"], str | None):
        raise BadRowError("refers to something that is not text")


def _check_former_id(row: Row) -> None:
    _check_named(row, ("sync", "key", "stripe_id"))


def _check_owed(row: Row) -> None:
    parse_owed(row)
    _check_named(row, ("id", "sync", "key", "resource", "operation", "target"))


def _check_intent(row: Row) -> None:
    intent = decode_intent(orjson.loads(row["body"]))
    if (intent.id, intent.change.sync, intent.change.key) != (row["id"], row["sync"], row["key"]):
        raise BadRowError("is about another change than it says")
    if len(intent.keys) != len(intent.change.calls) or not 0 <= intent.step < len(intent.change.calls):
        raise BadRowError("has calls and keys that do not belong together")


def _check_run(row: Row) -> None:
    _check_named(row, ("id", "command"))
    RunStatus(row["status"])
    if row["started_at"] is None:
        raise BadRowError("does not say when it began")
    if row["header"] is not None:
        decode_header(orjson.loads(row["header"]))
    for name, decode in (("counts", decode_counts), ("problems", decode_problem), ("owed", decode_owed)):
        for value in orjson.loads(row.get(name) or "[]"):
            decode(value)
    for count in orjson.loads(row["done"] or "{}").values():
        int(count)


def _check_outcome(row: Row) -> None:
    _check_named(row, ("run_id", "sync", "key"))
    parse_outcome(row)
    decode_change(orjson.loads(row["change"]))
    decode_failure(orjson.loads(row["failure"]) if row["failure"] else None)


def _check_drifted(row: Row) -> None:
    _check_named(row, ("sync", "key", "digest"))


def _check_meta(row: Row) -> None:
    _check_named(row, ("key",))


CHECKS: Mapping[str, Callable[[Row], None]] = {
    "meta": _check_meta,
    "records": _check_record,
    "former_ids": _check_former_id,
    "owed": _check_owed,
    "drifted": _check_drifted,
    "intents": _check_intent,
    "runs": _check_run,
    "outcomes": _check_outcome,
}
