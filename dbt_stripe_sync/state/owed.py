"""The table `owed`: steps on other objects that a row's change still owes, until they are done or settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from dbt_stripe_sync.model.change import Action, Owed
from dbt_stripe_sync.model.codec import decode_failure, decode_params, encode_failure, encode_params
from dbt_stripe_sync.model.tables import build_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from dbt_stripe_sync.model.calls import StripeFailure
    from dbt_stripe_sync.state.session import Session

_TEXT = pa.string()
_OWED = pa.schema(
    [(name, _TEXT) for name in ("id", "sync", "key", "resource", "action", "operation", "target", "params", "reason")]
    + [("since", pa.timestamp("us", tz="UTC")), ("ordinal", pa.int64())]
)


def add_owed(session: Session, owed: Sequence[Owed], now: datetime) -> None:
    """Store steps as owed, each once. Inside a transaction."""
    if not owed:
        return
    # A step may be owed twice in one commit. A row's steps have to be done in their order here.
    rows = [
        (
            step.id,
            step.sync,
            step.key,
            step.resource,
            step.action.value,
            step.operation,
            step.target,
            orjson.dumps(encode_params(step.params)).decode(),
            step.reason,
            step.since or now,
            ordinal,
        )
        for ordinal, step in enumerate({step.id: step for step in owed}.values())
    ]
    with session.registered("state_incoming", build_table(_OWED, rows)):
        session.execute(
            "INSERT INTO owed BY NAME SELECT * EXCLUDE (ordinal), 0 AS attempts FROM state_incoming AS i "
            "WHERE NOT EXISTS (SELECT 1 FROM owed AS o WHERE o.id = i.id) ORDER BY ordinal"
        )


def settle_owed(session: Session, ids: Sequence[str]) -> None:
    """Delete steps that are done. Inside a transaction."""
    if ids:
        session.execute("DELETE FROM owed WHERE id IN (SELECT unnest($ids))", {"ids": list(ids)})


def note_refused(session: Session, id_: str, failure: StripeFailure | None, request_id: str | None) -> None:
    """Record that Stripe rejected a step again, and why. Inside a transaction."""
    raw = encode_failure(failure)
    session.execute(
        "UPDATE owed SET attempts = attempts + 1, failure = $failure, request_id = $request WHERE id = $id",
        {"id": id_, "failure": orjson.dumps(raw).decode() if raw else None, "request": request_id},
    )


def read_owed(session: Session) -> list[Owed]:
    """All owed steps, oldest first, in the order in which they must be done."""
    return [parse_owed(row) for row in session.rows("SELECT * FROM owed ORDER BY since, sync, key, rowid")]


def settle_row(session: Session, sync: str, key: str) -> int:
    """Drop the owed steps of a row, and return how many there were. Inside a transaction."""
    values = {"sync": sync, "key": key}
    found = session.connection.execute(
        "SELECT count(*) FROM owed WHERE sync = $sync AND key = $key", values
    ).fetchall()[0][0]
    session.execute("DELETE FROM owed WHERE sync = $sync AND key = $key", values)
    return int(found)


def parse_owed(row: Mapping[str, Any]) -> Owed:
    """A row of the table `owed`."""
    return Owed(
        id=row["id"],
        sync=row["sync"],
        key=row["key"],
        resource=row["resource"],
        action=Action(row["action"]),
        operation=row["operation"],
        target=row["target"],
        params=decode_params(orjson.loads(row["params"])),
        reason=row["reason"],
        since=row["since"],
        attempts=row["attempts"],
        failure=decode_failure(orjson.loads(row["failure"])) if row["failure"] else None,
        request_id=row["request_id"],
    )
