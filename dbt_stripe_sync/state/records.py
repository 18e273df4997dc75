"""The table `records`: what was last written to Stripe for each row, replaced in bulk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from dbt_stripe_sync.model.record import NO_TAG, READ_BACK, TAGGED_AS
from dbt_stripe_sync.model.sql import key_order
from dbt_stripe_sync.model.sync import PART_SEPARATOR
from dbt_stripe_sync.model.tables import build_table
from dbt_stripe_sync.state.rows import FORMER_IDS, KEYS, RECORDS, TAKEN, TOUCHED, parse_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from dbt_stripe_sync.model.fingerprints import Fingerprints
    from dbt_stripe_sync.model.plan import Touched
    from dbt_stripe_sync.model.record import Record
    from dbt_stripe_sync.model.run import Outcome
    from dbt_stripe_sync.state.session import Session

# The entry in the table `meta` for a row whose record was dropped: `forgotten:<sync>:<key>`.
FORGOTTEN = "forgotten:"
_STORED = ", ".join((*RECORDS.names[:-1], "created_at", "updated_at"))
_COLUMNS = ", ".join(RECORDS.names[:-1])
_OF_RECORD = ", ".join(RECORDS.names[:-2])


def replace_records(session: Session, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows in the order of `RECORDS`, replacing those with the same sync and key.

    Inside a counted transaction. A record's time is when its row got its object, so that rows that refer to it can
    detect that the object has another owner.
    """
    if not rows:
        return
    # The table is scanned once to find the rows, which are then deleted by their row ids.
    with session.registered("state_incoming", build_table(RECORDS, rows)):
        if not session.exists(
            "SELECT 1 FROM records AS r SEMI JOIN state_incoming AS i ON r.sync = i.sync AND r.key = i.key LIMIT 1"
        ):
            session.execute(
                f"INSERT INTO records({_STORED}) SELECT {_COLUMNS}, written_at, written_at FROM state_incoming"
            )
            return
        session.execute(
            "CREATE OR REPLACE TEMP TABLE state_replaced AS SELECT i.*, r.rowid AS place, "
            "CASE WHEN r.stripe_id IS NOT DISTINCT FROM i.stripe_id THEN r.created_at END AS created_at "
            "FROM state_incoming AS i LEFT JOIN records AS r ON r.sync = i.sync AND r.key = i.key"
        )
    session.execute("DELETE FROM records WHERE rowid IN (SELECT place FROM state_replaced WHERE place IS NOT NULL)")
    session.execute(
        f"INSERT INTO records({_STORED}) "
        f"SELECT {_COLUMNS}, coalesce(created_at, written_at), written_at FROM state_replaced"
    )


def remove_records(session: Session, keys: Sequence[tuple[str, str]]) -> int:
    """Delete rows by sync and key, and return how many there were. Inside a counted transaction."""
    if not keys:
        return 0
    with session.registered("state_leaving", build_table(KEYS, keys)):
        session.execute(
            "CREATE OR REPLACE TEMP TABLE state_removed AS SELECT r.rowid AS place "
            "FROM records AS r SEMI JOIN state_leaving AS i ON r.sync = i.sync AND r.key = i.key"
        )
    removed = session.connection.execute("SELECT count(*) FROM state_removed").fetchall()[0][0]
    session.execute("DELETE FROM records WHERE rowid IN (SELECT place FROM state_removed)")
    return int(removed)


def touch_records(session: Session, touched: Sequence[Touched], now: datetime) -> None:
    """Update the hash and the references of records whose rows still have the same parameters. Inside a transaction."""
    if not touched:
        return
    rows = [(entry.sync, entry.key, entry.source_hash, entry.refs) for entry in touched]
    with session.registered("state_incoming", build_table(TOUCHED, rows)):
        session.execute(
            "UPDATE records SET source_hash = i.source_hash, refs = i.refs, updated_at = $now "
            "FROM state_incoming AS i WHERE records.sync = i.sync AND records.key = i.key",
            {"now": now},
        )
    count_write(session)


def drop_taken(session: Session, outcomes: Sequence[Outcome], now: datetime) -> None:
    """Remove the values that objects took over from the records of the rows that had them. Inside a transaction.

    Such a row's own change may have failed, or it may have none. With its old value, it would look unchanged later.
    """
    taken = [
        (outcome.change.resource, outcome.change.sync, outcome.change.key, parameter, value)
        for outcome in outcomes
        for parameter, value in outcome.taken.items()
    ]
    for parameter in {row[3] for row in taken}:
        with session.registered("state_incoming", build_table(TAKEN, [row for row in taken if row[3] == parameter])):
            session.execute(
                "UPDATE records SET params = json_merge_patch(params, $without), source_hash = NULL, updated_at = $now "
                "FROM state_incoming AS i WHERE records.resource = i.resource AND records.salt IS NULL "
                "AND json_extract_string(records.params, $path) = i.value "
                "AND (records.sync, records.key) <> (i.sync, i.key)",
                {"without": orjson.dumps({parameter: None}).decode(), "path": f'$."{parameter}"', "now": now},
            )


def note_missing(session: Session, rows: Sequence[tuple[str, str]]) -> None:
    """Note that Stripe lacks the objects of some rows. Inside a transaction."""
    if rows:
        with session.registered("state_incoming", build_table(KEYS, rows)):
            # The separate step on an object of another sync has its own record, which is deleted with the object.
            session.execute(
                "UPDATE records SET missing = true FROM (SELECT r.resource, r.stripe_id FROM records AS r "
                "JOIN state_incoming AS i ON r.sync = i.sync AND r.key = i.key) AS gone "
                "WHERE records.resource = gone.resource AND records.stripe_id = gone.stripe_id"
            )


def remove_parts(session: Session, sync: str, keys: Sequence[str]) -> None:
    """Delete the records of separate steps on the objects of some rows. Inside a transaction."""
    session.execute(
        "DELETE FROM records WHERE starts_with(sync, $parts) AND key IN (SELECT unnest($keys))",
        {"parts": f"{sync}{PART_SEPARATOR}", "keys": list(keys)},
    )


def note_forgotten(session: Session, sync: str, keys: Sequence[str], undecided: Sequence[str] = ()) -> None:
    """Note rows whose objects stay in Stripe, and which object each had, before their records are deleted.

    An `undecided` row may have another object in Stripe than its record says, so none is noted. Inside a transaction.
    """
    session.execute(
        "INSERT OR REPLACE INTO meta SELECT DISTINCT $prefix || k.key, "
        "CASE WHEN NOT list_contains($undecided, k.key) THEN r.stripe_id END "
        "FROM (SELECT unnest($keys) AS key) AS k LEFT JOIN records AS r ON r.sync = $sync AND r.key = k.key",
        {"prefix": f"{FORGOTTEN}{sync}:", "keys": list(keys), "sync": sync, "undecided": ["", *undecided]},
    )


def add_former_ids(session: Session, rows: Sequence[tuple[str, str, str]]) -> None:
    """Note objects (sync, key, id) that were replaced, each once. Inside a transaction."""
    if not rows:
        return
    with session.registered("state_incoming", build_table(FORMER_IDS, rows)):
        session.execute(
            "INSERT INTO former_ids SELECT DISTINCT * FROM state_incoming AS i "
            "WHERE NOT EXISTS (SELECT 1 FROM former_ids AS f WHERE f.sync = i.sync AND f.stripe_id = i.stripe_id)"
        )


def rename_records(session: Session, old: str, new: str, *, retag: bool) -> None:
    """Rename a sync's records.

    Inside a transaction. With `retag`, the next run updates the tag of each object, including those that are still
    waiting for an earlier rename. Without it, all tags stay unchanged.
    """
    path = f'$."{TAGGED_AS}"'
    if retag:
        # Prepended as text, so that the rest of the JSON stays exactly as it was written.
        session.execute(
            "UPDATE records SET source_hash = NULL, "
            "params = '{' || $mark || CASE params WHEN '{}' THEN '' ELSE ',' END || substr(params, 2) "
            f"WHERE sync = $old AND json_extract(params, '{path}') IS NULL",
            {"old": old, "mark": f'"{TAGGED_AS}":{orjson.dumps(old).decode()}'},
        )
    else:
        session.execute(
            "UPDATE records SET params = json_merge_patch(params, $without) "
            # An object that lost its tag has none to keep.
            f"WHERE sync = $old AND json_extract_string(params, '{path}') <> '{NO_TAG}'",
            {"old": old, "without": f'{{"{TAGGED_AS}":null}}'},
        )
    # The stored runs are renamed, too: the setting under the new name decides whether their values may be stored.
    for table in ("records", "former_ids", "outcomes", "owed", "drifted"):
        session.execute(
            f"UPDATE {table} SET sync = $new || substr(sync, length($old) + 1) "
            "WHERE sync = $old OR starts_with(sync, $old || $part)",
            {"old": old, "new": new, "part": PART_SEPARATOR},
        )
    session.execute("DELETE FROM meta WHERE key = $name", {"name": f"{READ_BACK}{new}"})
    session.execute(
        "UPDATE meta SET key = $new WHERE key = $old", {"old": f"{READ_BACK}{old}", "new": f"{READ_BACK}{new}"}
    )
    forgotten = {"old": f"{FORGOTTEN}{old}:"}
    # A row of the new name may have been forgotten, too.
    session.execute(
        "INSERT OR REPLACE INTO meta SELECT $new || substr(key, length($old) + 1), value FROM meta "
        "WHERE starts_with(key, $old)",
        {**forgotten, "new": f"{FORGOTTEN}{new}:"},
    )
    session.execute("DELETE FROM meta WHERE starts_with(key, $old)", forgotten)
    count_write(session)


def count_write(session: Session) -> None:
    """Increment the serial, which shows a plan that its state has changed. Inside a transaction."""
    session.execute("UPDATE meta SET value = CAST(value AS BIGINT) + 1 WHERE key = 'serial'")


def read_record(session: Session, sync: str, key: str, fingerprints: Fingerprints) -> Record | None:
    """One record."""
    rows = session.rows(f"SELECT {_OF_RECORD} FROM records WHERE sync = $sync AND key = $key", sync=sync, key=key)
    return parse_record(rows[0], fingerprints) if rows else None


def read_written(
    session: Session, sync: str, keys: Sequence[str], fingerprints: Fingerprints
) -> dict[str, tuple[Record, str]]:
    """The records of some rows by key, each with the run that wrote it last."""
    query = f"SELECT {_OF_RECORD}, run_id FROM records WHERE sync = $sync AND key IN (SELECT unnest($keys))"
    rows = session.rows(query, sync=sync, keys=list(keys))
    return {row["key"]: (parse_record(row, fingerprints), str(row["run_id"])) for row in rows}


def read_records(session: Session, sync: str, limit: int | None, fingerprints: Fingerprints) -> Iterator[Record]:
    """The records of a sync by key, read lazily."""
    # DuckDB doesn't accept null as a limit; no table is longer than the largest number.
    values = {"sync": sync, "limit": limit if limit is not None else 2**62}
    query = f"SELECT {_OF_RECORD} FROM records WHERE sync = $sync ORDER BY {key_order('key')} LIMIT $limit"
    for batch in session.batches(query, **values):
        yield from (parse_record(row, fingerprints) for row in batch)


def read_summary(session: Session) -> list[tuple[str, str, int]]:
    """Each sync with its resource and its number of records."""
    query = (
        "SELECT sync, resource, count(*) AS records FROM records WHERE NOT contains(sync, $part) "
        "GROUP BY ALL ORDER BY ALL"
    )
    return [(row["sync"], row["resource"], row["records"]) for row in session.rows(query, part=PART_SEPARATOR)]
