"""Stores the results of reading objects back: when that was, which had drifted, and which were missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.model.plan import DriftedObject, ObjectSeen, ReadBack, SettledDrift
from dbt_stripe_sync.model.record import READ_BACK
from dbt_stripe_sync.model.tables import build_table
from dbt_stripe_sync.state.records import count_write
from dbt_stripe_sync.state.rows import DRIFTED, KEYS, SEEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.model.plan import Refreshed
    from dbt_stripe_sync.state.session import Session


def note_read_back(session: Session, entries: Sequence[Refreshed]) -> None:
    """Store what a plan found when it read objects back. Inside a transaction."""
    drifted = {(e.sync, e.key): e.digest for e in entries if isinstance(e, DriftedObject)}
    settled = [(e.sync, e.key) for e in entries if isinstance(e, SettledDrift)]
    forget_drift(session, [*settled, *drifted])
    if drifted:
        rows = [(sync, key, digest) for (sync, key), digest in drifted.items()]
        with session.registered("state_incoming", build_table(DRIFTED, rows)):
            session.execute("INSERT INTO drifted BY NAME SELECT * FROM state_incoming")
    seen = [(e.sync, e.key, e.missing) for e in entries if isinstance(e, ObjectSeen)]
    if seen:
        with session.registered("state_incoming", build_table(SEEN, seen)):
            session.execute(
                "UPDATE records SET missing = i.missing FROM state_incoming AS i "
                "WHERE records.sync = i.sync AND records.key = i.key"
            )
        count_write(session)
    for entry in entries:
        if isinstance(entry, ReadBack):
            session.execute(
                "INSERT OR REPLACE INTO meta VALUES ($name, $at)",
                {"name": f"{READ_BACK}{entry.sync}", "at": entry.at.isoformat()},
            )


def forget_drift(session: Session, keys: Sequence[tuple[str, str]]) -> None:
    """Delete the recorded drift of some rows' objects. Inside a transaction."""
    if keys:
        with session.registered("state_settled", build_table(KEYS, list(keys))):
            session.execute("DELETE FROM drifted WHERE (sync, key) IN (SELECT (sync, key) FROM state_settled)")
