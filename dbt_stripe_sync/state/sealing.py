"""Hashes the stored values of syncs that no longer store any, without a call to Stripe."""

from __future__ import annotations

from secrets import token_bytes
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dbt_stripe_sync.model.fingerprints import SALT_BYTES, Fingerprints, Retention, Salt
from dbt_stripe_sync.model.tables import build_table
from dbt_stripe_sync.state.compaction import note_values
from dbt_stripe_sync.state.records import count_write
from dbt_stripe_sync.state.rows import concealed_row, parse_outcome, parse_record, sealed_params

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dbt_stripe_sync.state.session import Session

SALT = "salt"
ROWS_AT_ONCE = 10_000
_TEXT = pa.string()
_RECORD = pa.schema([("place", pa.int64()), ("params", _TEXT), ("payload_hash", _TEXT), ("salt", _TEXT)])
_OUTCOME = pa.schema([("place", pa.int64()), ("change", _TEXT), ("failure", _TEXT)])


def read_fingerprints(session: Session, retention: Retention) -> Fingerprints:
    """Read the available salts: the user's, and the state's own."""
    own = session.value("SELECT value FROM meta WHERE key = $name", name=SALT)
    salts = [Salt.of(secret) for secret in (retention.salt, bytes.fromhex(own) if own else None) if secret is not None]
    return Fingerprints(
        retention=retention, current=salts[0] if salts else None, known={salt.id: salt for salt in salts}
    )


def make_salt(session: Session, retention: Retention) -> None:
    """Create the state's salt if it needs one; delete it if the user's salt has replaced it."""
    own = session.value("SELECT value FROM meta WHERE key = $name", name=SALT)
    if own is None and retention.salt is None and not retention.keeps_all:
        with session.transaction():
            session.execute(
                "INSERT INTO meta VALUES ($name, $salt)", {"name": SALT, "salt": token_bytes(SALT_BYTES).hex()}
            )
    elif own is not None and retention.salt is not None:
        salt = Salt.of(bytes.fromhex(own)).id
        if not session.value("SELECT count(*) AS records FROM records WHERE salt = $salt", salt=salt):
            with session.transaction():
                session.execute("DELETE FROM meta WHERE key = $name", {"name": SALT})
                note_values(session)


def seal_records(session: Session, fingerprints: Fingerprints) -> None:
    """Hash the values of every record whose sync stores none, and delete the unsalted hash of its row."""

    def sealed(row: dict[str, Any]) -> tuple[Any, ...]:
        return (row["place"], *sealed_params(parse_record(row, fingerprints), fingerprints)[1:])

    for sync in _syncs(session, "records", "salt IS NULL", fingerprints):
        _rewrite(
            session,
            "SELECT rowid AS place, * FROM records WHERE sync = $sync AND salt IS NULL LIMIT $most",
            sync,
            sealed,
            _RECORD,
            "UPDATE records SET params = i.params, payload_hash = i.payload_hash, salt = i.salt, source_hash = NULL "
            "FROM state_incoming AS i WHERE records.rowid = i.place",
        )


def conceal_outcomes(session: Session, fingerprints: Fingerprints) -> None:
    """Remove the values from the stored outcomes of earlier runs."""

    def concealed(row: dict[str, Any]) -> tuple[Any, ...]:
        return (row["place"], *concealed_row(parse_outcome(row), fingerprints))

    for sync in _syncs(session, "outcomes", "has_values", fingerprints):
        _rewrite(
            session,
            "SELECT rowid AS place, * FROM outcomes WHERE sync = $sync AND has_values LIMIT $most",
            sync,
            concealed,
            _OUTCOME,
            "UPDATE outcomes SET change = i.change, failure = i.failure, has_values = false "
            "FROM state_incoming AS i WHERE outcomes.rowid = i.place",
        )


def _syncs(session: Session, table: str, where: str, fingerprints: Fingerprints) -> list[str]:
    rows = session.rows(f"SELECT DISTINCT sync FROM {table} WHERE {where} ORDER BY sync")
    return [row["sync"] for row in rows if not fingerprints.retention.keeps(row["sync"])]


def _rewrite(
    session: Session,
    query: str,
    sync: str,
    change: Callable[[dict[str, Any]], tuple[Any, ...]],
    schema: pa.Schema,
    statement: str,
) -> None:
    """Change a sync's rows in batches, until the query finds no more."""
    while rows := session.rows(query, sync=sync, most=ROWS_AT_ONCE):
        changed: Sequence[tuple[Any, ...]] = [change(row) for row in rows]
        # The rows are identified by their positions in this file.
        incoming = build_table(schema, changed)
        with session.transaction(replayable=False), session.registered("state_incoming", incoming):
            note_values(session)
            session.execute(statement)
            count_write(session)
