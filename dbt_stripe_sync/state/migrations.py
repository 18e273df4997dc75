"""The state's tables, as numbered steps that only go forward. A step that has been released is never edited.

Only this package knows the tables. The engine's SQL reads views: `known_records` (the record of each row),
`known_former_ids` (objects that were replaced), `forgotten_rows` (rows whose record a person removed), `known_drift`
(rows whose objects others had changed), `known_writes` (which rows have written to which objects) and `read_backs`
(when each sync's objects were last read back).
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import duckdb

from dbt_stripe_sync.state.problems import cannot_open, cannot_write, damaged, newer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# `records` has no primary key: DuckDB checks keys too eagerly for a row that is deleted and inserted in one
# transaction, and 200 rows among a million are found in 30 ms without an index.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta(key VARCHAR PRIMARY KEY, value VARCHAR);
    CREATE TABLE records(
        sync VARCHAR, key VARCHAR, resource VARCHAR, stripe_id VARCHAR, params VARCHAR, payload_hash VARCHAR,
        source_hash UBIGINT, refs VARCHAR, removed BOOLEAN, adopted BOOLEAN, run_id VARCHAR,
        created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ
    );
    CREATE TABLE intents(id VARCHAR, run_id VARCHAR, sync VARCHAR, key VARCHAR, opened_at TIMESTAMPTZ, body VARCHAR);
    CREATE TABLE runs(
        id VARCHAR, command VARCHAR, target VARCHAR, status VARCHAR, started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ,
        header VARCHAR, counts VARCHAR, problems VARCHAR, done VARCHAR, requests BIGINT
    );
    CREATE TABLE outcomes(
        run_id VARCHAR, sync VARCHAR, key VARCHAR, action VARCHAR, status VARCHAR, stripe_id VARCHAR,
        request_id VARCHAR, failure VARCHAR, reason VARCHAR, attempts INTEGER, finished_at TIMESTAMPTZ,
        intent_id VARCHAR, change VARCHAR
    );
    """,
    # The objects that a row had before they were replaced, and that others may still refer to.
    "CREATE TABLE former_ids(sync VARCHAR, key VARCHAR, stripe_id VARCHAR)",
    # `salt` is the salt with which the values of `params` are hashed; if it is null, they are stored as they are.
    """
    ALTER TABLE records ADD COLUMN salt VARCHAR;
    ALTER TABLE outcomes ADD COLUMN has_values BOOLEAN DEFAULT true;
    """,
    # What a change still has to do on objects other than its row's. An earlier format lost it if Stripe rejected the
    # second call of a replacement, but its outcome still has the call. `missing`: Stripe lacks the object.
    """
    CREATE TABLE owed(
        id VARCHAR, sync VARCHAR, key VARCHAR, resource VARCHAR, action VARCHAR, operation VARCHAR, target VARCHAR,
        params VARCHAR, reason VARCHAR, since TIMESTAMPTZ, attempts INTEGER, failure VARCHAR, request_id VARCHAR
    );
    INSERT INTO owed
    SELECT sync || '/' || key || '!' || former, sync, key, resource,
           CASE operation WHEN 'delete' THEN 'delete' WHEN 'cancel' THEN 'cancel' WHEN 'void_invoice' THEN 'void'
                ELSE 'archive' END,
           operation, former, params, 'a new object has replaced it', finished_at, 1, failure, request_id
    FROM (
        SELECT sync, key, stripe_id, finished_at, failure, request_id, change ->> '$.resource' AS resource,
               change ->> '$.stripe_id' AS former, change ->> '$.calls[#-1][0]' AS operation,
               change ->> '$.calls[#-1][1]' AS target, change -> '$.calls[#-1][2]' AS params
        FROM outcomes WHERE action = 'replace' AND status = 'rejected' AND has_values
    ) WHERE former IS NOT NULL AND stripe_id IS DISTINCT FROM former AND target = former
    QUALIFY row_number() OVER (PARTITION BY sync, key, former ORDER BY finished_at DESC) = 1;
    ALTER TABLE records ADD COLUMN missing BOOLEAN DEFAULT false;
    ALTER TABLE runs ADD COLUMN owed VARCHAR;
    CREATE VIEW known_records AS
    SELECT sync, key, resource, stripe_id, params, payload_hash, source_hash, refs, removed, adopted, missing, salt,
           created_at, updated_at
    FROM records;
    CREATE VIEW known_former_ids AS SELECT sync, key, stripe_id FROM former_ids;
    CREATE VIEW forgotten_rows AS
    SELECT split_part(key, ':', 2) AS sync, substr(key, length('forgotten:' || split_part(key, ':', 2)) + 2) AS key
    FROM meta WHERE starts_with(key, 'forgotten:');
    """,
    # Rows whose objects were read back and differed from what had been written.
    """
    CREATE TABLE drifted(sync VARCHAR, key VARCHAR, digest VARCHAR);
    CREATE VIEW known_drift AS SELECT sync, key, digest FROM drifted;
    CREATE VIEW known_writes AS
    SELECT sync, key, stripe_id, finished_at FROM outcomes WHERE status = 'succeeded' AND stripe_id IS NOT NULL;
    CREATE VIEW read_backs AS
    SELECT substr(key, length('read_back:') + 1) AS sync, value AS read_at
    FROM meta WHERE starts_with(key, 'read_back:');
    """,
    # The object of each row whose record was dropped.
    """
    CREATE OR REPLACE VIEW forgotten_rows AS
    SELECT split_part(key, ':', 2) AS sync, substr(key, length('forgotten:' || split_part(key, ':', 2)) + 2) AS key,
           value AS stripe_id
    FROM meta WHERE starts_with(key, 'forgotten:');
    """,
)


def migrate(connection: duckdb.DuckDBPyConnection, path: Path, steps: Sequence[str] = MIGRATIONS) -> bool:
    """Bring an open state to the newest format, each step in one transaction, after a copy of the file.

    Returns whether there was anything to do. Raises `StateError`: `state-newer`, `state-damaged`, or that it can't be
    written.
    """
    version = _read_version(connection, path)
    if version > len(steps):
        raise newer(path, version, len(steps))
    if version == len(steps):
        return False
    try:
        if version > 0:
            connection.execute("CHECKPOINT")
            shutil.copy2(path, path.with_name(f"{path.name}.before-v{len(steps)}"))
        for number in range(version + 1, len(steps) + 1):
            _apply(connection, steps[number - 1], number)
    except duckdb.CatalogException:
        raise damaged(path) from None  # a file of another kind that DuckDB can open, such as Parquet
    except (duckdb.Error, OSError) as error:
        raise cannot_write(path, error) from None
    return True


def _apply(connection: duckdb.DuckDBPyConnection, statements: str, number: int) -> None:
    connection.begin()
    try:
        connection.execute(statements)
        if number == 1:
            connection.execute(
                "INSERT INTO meta VALUES ('version', '0'), ('state_id', $id), ('serial', '0')", {"id": uuid4().hex}
            )
        connection.execute("UPDATE meta SET value = $number WHERE key = 'version'", {"number": str(number)})
        connection.commit()
    except BaseException:
        with suppress(duckdb.Error):  # a failed COMMIT has rolled back, and its reason counts: the disk may be full
            connection.rollback()
        raise


def _read_version(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    try:
        query = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
        tables = {name for (name,) in connection.execute(query).fetchall()}
        if not tables:
            return 0
        if "meta" not in tables:
            raise damaged(path)
        rows = connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchall()
        return int(rows[0][0])
    except duckdb.Error as error:
        raise cannot_open(path, error) from None
    except (IndexError, TypeError, ValueError):
        raise damaged(path) from None
