"""Verifies and parses dbt Cloud's webhooks (docs.getdbt.com/docs/deploy/webhooks)."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import orjson
from msgspec import Struct

COMPLETED = "job.run.completed"
CANCELLED = 30
# An event is smaller than 1 KB, and contains the names of a job, an environment and a project.
MOST_BYTES = 64 * 1024
LARGEST = 2**63 - 1
LONGEST_ID = 200


class BadEventError(ValueError):
    """A body that is signed, but isn't an event of dbt Cloud's."""


class Event(Struct, frozen=True, kw_only=True):
    """A webhook event.

    `id` is the same each time dbt Cloud sends it; `run_id` is 0 if it names no run. Events other than that of a
    completed run may have only a kind.
    """

    id: str
    kind: str
    account_id: str
    job_id: int
    job_name: str
    run_id: int
    status: str
    status_code: int

    @property
    def is_finished_run(self) -> bool:
        """Whether a run has finished with artifacts; a cancelled one hasn't.

        `job.run.errored` comes before the artifacts exist, and is followed by `job.run.completed`.
        """
        return self.kind == COMPLETED and not self._is_cancelled

    @property
    def _is_cancelled(self) -> bool:
        # Early events had no `runStatusCode`.
        return self.status_code == CANCELLED or (not self.status_code and self.status.lower().startswith("cancel"))


def is_signed(body: bytes, header: str | None, secret: str) -> bool:
    """Whether the `Authorization` header holds the HMAC-SHA256 of the body; takes the same time for every wrong one."""
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = (header or "").strip().lower().encode("utf-8", "surrogateescape")
    return hmac.compare_digest(given, expected.encode())


def parse_event(body: bytes) -> Event:
    """An event from its body. Raises `BadEventError`."""
    try:
        raw = orjson.loads(body)
        data = raw.get("data") or {}
        event = Event(
            id=str(raw.get("eventId") or ""),
            kind=str(raw.get("eventType") or ""),
            account_id=str(raw.get("accountId") or ""),
            job_id=_number(data.get("jobId")),
            job_name=str(data.get("jobName") or ""),
            run_id=_number(data.get("runId")),
            status=str(data.get("runStatus") or ""),
            status_code=_number(data.get("runStatusCode")),
        )
    except (orjson.JSONDecodeError, AttributeError, OverflowError, TypeError, ValueError):
        raise BadEventError("the body is not an event of dbt Cloud's") from None
    if event.kind != COMPLETED:
        return event
    if not event.id or len(event.id) > LONGEST_ID:
        raise BadEventError("the event has no eventId")
    if event.run_id <= 0:
        raise BadEventError("the event names no run")
    return event


def _number(value: Any) -> int:
    """An id or a code. Raises `ValueError` if it can't be one: the queue stores 64 bits."""
    number = int(value) if value not in (None, "") else 0
    if abs(number) > LARGEST:
        raise ValueError(f"{number} has more than 64 bits")
    return number
