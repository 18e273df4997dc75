"""Converts the state's values to Arrow tables, which DuckDB inserts a thousand times faster than single rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from dbt_stripe_sync.model.codec import (
    canonical,
    decode_change,
    decode_failure,
    encode_change,
    encode_failure,
    encode_intent,
)
from dbt_stripe_sync.model.fingerprints import stored_hash
from dbt_stripe_sync.model.record import REBUILT, Record
from dbt_stripe_sync.model.run import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from dbt_stripe_sync.model.fingerprints import Fingerprints
    from dbt_stripe_sync.model.run import Intent

_TEXT = pa.string()
_TIME = pa.timestamp("us", tz="UTC")
RECORDS = pa.schema(
    [(name, _TEXT) for name in ("sync", "key", "resource", "stripe_id", "params", "payload_hash")]
    + [("source_hash", pa.uint64()), ("refs", _TEXT), ("removed", pa.bool_()), ("adopted", pa.bool_())]
    + [("salt", _TEXT), ("run_id", _TEXT), ("written_at", _TIME)]
)
INTENTS = pa.schema(
    [(name, _TEXT) for name in ("id", "run_id", "sync", "key")] + [("opened_at", _TIME), ("body", _TEXT)]
)
OUTCOMES = pa.schema(
    [
        (name, _TEXT)
        for name in ("run_id", "sync", "key", "action", "status", "stripe_id", "request_id", "failure", "reason")
    ]
    + [("attempts", pa.int32()), ("finished_at", _TIME), ("intent_id", _TEXT), ("change", _TEXT)]
    + [("has_values", pa.bool_())]
)
FORMER_IDS = pa.schema([("sync", _TEXT), ("key", _TEXT), ("stripe_id", _TEXT)])
TOUCHED = pa.schema([("sync", _TEXT), ("key", _TEXT), ("source_hash", pa.uint64()), ("refs", _TEXT)])
TAKEN = pa.schema([(name, _TEXT) for name in ("resource", "sync", "key", "parameter", "value")])
DRIFTED = pa.schema([("sync", _TEXT), ("key", _TEXT), ("digest", _TEXT)])
SEEN = pa.schema([("sync", _TEXT), ("key", _TEXT), ("missing", pa.bool_())])
KEYS = pa.schema([("sync", _TEXT), ("key", _TEXT)])


def sealed_params(record: Record, fingerprints: Fingerprints) -> tuple[Record, str, str, str | None]:
    """A record with its parameters as they are stored, their digest, and the id of the salt of their hashes."""
    sealed, salt = fingerprints.seal(record)
    params = canonical(sealed.params)
    keep_hash = salt is None or record.payload_hash == REBUILT
    return sealed, params, record.payload_hash if keep_hash else stored_hash(params), salt


def record_row(record: Record, run_id: str, at: datetime, fingerprints: Fingerprints) -> tuple[Any, ...]:
    """A record in the order of `RECORDS`."""
    _, params, payload_hash, salt = sealed_params(record, fingerprints)
    return (
        record.sync,
        record.key,
        record.resource,
        record.stripe_id,
        params,
        payload_hash,
        record.source_hash,
        record.refs,
        record.removed,
        record.adopted,
        salt,
        run_id,
        at,
    )


def parse_record(row: Mapping[str, Any], fingerprints: Fingerprints) -> Record:
    """A row of the table `records`."""
    return Record(
        sync=row["sync"],
        key=row["key"],
        resource=row["resource"],
        stripe_id=row["stripe_id"],
        params=fingerprints.parse(row["params"], row["salt"], row["key"]),
        payload_hash=row["payload_hash"],
        source_hash=row["source_hash"],
        refs=row["refs"],
        removed=row["removed"],
        adopted=row["adopted"],
    )


def intent_row(intent: Intent, at: datetime) -> tuple[Any, ...]:
    """An intent in the order of `INTENTS`."""
    body = orjson.dumps(encode_intent(intent)).decode()
    return (intent.id, intent.run_id, intent.change.sync, intent.change.key, at, body)


def concealed_row(outcome: Outcome, fingerprints: Fingerprints) -> tuple[str, str | None]:
    """The columns `change` and `failure` of an outcome without values."""
    concealed = fingerprints.conceal(outcome)
    return _json(encode_change(concealed.change)), _failure(concealed)


def outcome_row(outcome: Outcome, at: datetime, fingerprints: Fingerprints) -> tuple[Any, ...]:
    """An outcome in the order of `OUTCOMES`."""
    has_values = fingerprints.retention.keeps(outcome.change.sync)
    outcome = outcome if has_values else fingerprints.conceal(outcome)
    change = outcome.change
    return (
        outcome.run_id,
        change.sync,
        change.key,
        change.action.value,
        outcome.status.value,
        outcome.stripe_id,
        outcome.request_id,
        _failure(outcome),
        outcome.reason,
        outcome.attempts,
        outcome.finished_at or at,
        outcome.intent_id,
        _json(encode_change(change)),
        has_values,
    )


def parse_outcome(row: Mapping[str, Any]) -> Outcome:
    """A row of the table `outcomes`; the resulting record is in `records`."""
    return Outcome(
        intent_id=row["intent_id"],
        run_id=row["run_id"],
        change=decode_change(orjson.loads(row["change"])),
        status=Status(row["status"]),
        record=None,
        stripe_id=row["stripe_id"],
        request_id=row["request_id"],
        failure=decode_failure(orjson.loads(row["failure"])) if row["failure"] else None,
        reason=row["reason"],
        attempts=row["attempts"],
        finished_at=row["finished_at"],
    )


def _failure(outcome: Outcome) -> str | None:
    failure = encode_failure(outcome.failure)
    return _json(failure) if failure is not None else None


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
