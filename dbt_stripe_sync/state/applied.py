"""Records the progress of a saved plan, so that an interrupted `apply` can continue.

Two rows of `meta` have the last applied plan and the state's serial after its last write. As long as the serial is the
same, nothing else was written, and the plan is still valid, except for the changes that are done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.run import Ended, Status

if TYPE_CHECKING:
    from dbt_stripe_sync.state.session import Session

_PLAN, _SERIAL = "applied_plan", "applied_serial"
# A run of `apply` has the plan's header from its start. The id is random, so no other text contains it.
_RUNS = "SELECT id FROM runs WHERE contains(header, $plan)"
# Their outcomes say what is done, so they are kept as long as the plan may be continued.
KEPT_RUNS = f"SELECT id FROM runs, meta WHERE meta.key = '{_PLAN}' AND contains(runs.header, meta.value)"


def note_write(session: Session, plan_id: str) -> None:
    """Record that this transaction was written by an apply. This must be its last statement."""
    session.execute(
        f"INSERT OR REPLACE INTO meta VALUES ('{_PLAN}', $plan), "
        f"('{_SERIAL}', (SELECT value FROM meta WHERE key = 'serial'))",
        {"plan": plan_id},
    )


def read_serial_after(session: Session, plan_id: str) -> int | None:
    """The serial after the last apply of this plan; None if there was none, or another plan was applied since."""
    known = {row["key"]: row["value"] for row in session.rows("SELECT key, value FROM meta")}
    return int(known[_SERIAL]) if known.get(_PLAN) == plan_id else None


def read_ended(session: Session, plan_id: str) -> dict[str, Ended]:
    """The changes of a plan that must not be sent again, by their ids.

    Those are changes that succeeded, that were rejected after their object had been created, or that are unresolved.
    Anything else that was rejected or skipped had no effect, and may be sent again.
    """
    ended: dict[str, Ended] = {}
    query = (
        "SELECT json_extract_string(change, '$.id') AS id, status, stripe_id FROM outcomes "
        f"WHERE run_id IN ({_RUNS}) AND (status = $succeeded OR (status = $rejected "
        "AND stripe_id IS DISTINCT FROM json_extract_string(change, '$.stripe_id')))"
    )
    values = {"plan": plan_id, "succeeded": Status.SUCCEEDED.value, "rejected": Status.REJECTED.value}
    for batch in session.batches(query, **values):
        for row in batch:
            status = Status(row["status"])
            if status is Status.SUCCEEDED or row["id"] not in ended:
                ended[row["id"]] = Ended(status=status, stripe_id=row["stripe_id"])
    for batch in session.batches("SELECT json_extract_string(body, '$.change.id') AS id FROM intents"):
        ended |= {row["id"]: Ended(status=Status.UNKNOWN, stripe_id=None) for row in batch}
    return ended
