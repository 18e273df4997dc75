"""The state's tables, as numbered steps that only go forward."""

from __future__ import annotations

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
)
NEWEST = len(MIGRATIONS)
