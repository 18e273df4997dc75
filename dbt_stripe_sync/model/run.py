"""The values of a run: intents before their calls, outcomes after them, and the report."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING
from uuid import uuid4

from msgspec import Struct, field

from dbt_stripe_sync.model.calls import RESOURCE_MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from dbt_stripe_sync.model.calls import StripeFailure
    from dbt_stripe_sync.model.change import Change, Owed
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.plan import PlanHeader, SyncCounts
    from dbt_stripe_sync.model.record import Record


def new_run_id(now: datetime) -> str:
    """Return an id that starts with the second of `now`, and that a person can read aloud."""
    return f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"


class Status(Enum):
    """How one change ended. An `UNKNOWN` change may have succeeded: the next run finds out first."""

    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Intent(Struct, frozen=True, kw_only=True):
    """A change that is about to be sent, durable before its first call, with the exact parameters of every call.

    - `step` is the index of the next call; `stripe_id` is the object that was created or named so far.
    - `keys` holds one idempotency key for each call; `key_sent_at` is when the key of `step` was first used, in UTC.
    - `key_spent` says that Stripe has saved a failure under that key, so that a repeat would only return it.
    - `change` has its references resolved: the record is made from it.
    """

    id: str
    run_id: str
    change: Change
    keys: tuple[str, ...]
    step: int = 0
    stripe_id: str | None = None
    key_sent_at: datetime | None = None
    key_spent: bool = False


class Ended(Struct, frozen=True, kw_only=True):
    """The result of a saved plan's change in an earlier apply, if it must not be sent again.

    `REJECTED` means that its object was created and that Stripe rejected a later call. `stripe_id` is the object for
    those that refer to it, or None.
    """

    status: Status
    stripe_id: str | None


class Outcome(Struct, frozen=True, kw_only=True):
    """How one change ended, with what a person needs to look into it.

    `record` is what the state holds afterwards. An outcome closes its intent, except for `UNKNOWN`: then the intent
    stays open until a later run has resolved it. `owed` are the steps on other objects that are owed from now on,
    `settled` the ids of those that were done, and `refused_step` the id of the one that Stripe rejected. `taken` are
    the values, by parameter, that the row's object took over from whichever object had them.
    """

    intent_id: str | None
    run_id: str
    change: Change
    status: Status
    record: Record | None
    stripe_id: str | None = None
    request_id: str | None = None
    failure: StripeFailure | None = None
    reason: str | None = None
    attempts: int = 0
    finished_at: datetime | None = None
    owed: tuple[Owed, ...] = ()
    settled: tuple[str, ...] = ()
    refused_step: str | None = None
    taken: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_earlier(self) -> bool:
        """Whether an earlier run had left the change open, and this run has resolved it."""
        run, is_named, _ = (self.intent_id or "").rpartition("/")
        return bool(is_named) and run != self.run_id

    @property
    def is_object_missing(self) -> bool:
        """Whether Stripe rejected the change because the row's own object doesn't exist."""
        change, failure = self.change, self.failure
        return (
            self.status is Status.REJECTED
            and failure is not None
            and failure.code == RESOURCE_MISSING
            and change.stripe_id is not None
            and not change.settles
            and self.record is None
            and _names(failure.message or "", change.stripe_id)
        )


def _names(message: str, stripe_id: str) -> bool:
    """Return whether a message names an object, and not one whose id merely contains its id."""
    return re.search(rf"(?<![\w-]){re.escape(stripe_id)}(?![\w-])", message) is not None


# The code of the problem that ends a run whose plan a person has declined.
NOT_CONFIRMED = "not-confirmed"


class RunStatus(Enum):
    """How a run ended.

    `PARTIAL` means that something was rejected, skipped or held back, or is unknown. `DECLINED` means that a person was
    asked and said no, so nothing was sent.
    """

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    DECLINED = "declined"
    INTERRUPTED = "interrupted"


class RunReport(Struct, frozen=True, kw_only=True):
    """What a run did, for the text, JSON and HTML views. `outcomes` can be iterated over many times.

    `reads` are those of its `requests` that changed nothing, None if that is no longer known. `owed` are the steps that
    were still to be done when it ended.
    """

    run_id: str
    header: PlanHeader
    status: RunStatus
    started_at: datetime
    finished_at: datetime
    counts: tuple[SyncCounts, ...]
    problems: tuple[Problem, ...]
    outcomes: Iterable[Outcome]
    done: Mapping[str, int]
    requests: int
    reads: int | None = None
    owed: tuple[Owed, ...] = ()


class RunEntry(Struct, frozen=True, kw_only=True):
    """One line of the list of runs.

    `finished_at` is None if it was killed or is still running. `counts` has the results of the rows, empty for a run
    that hasn't finished.
    """

    id: str
    command: str
    target: str
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None
    done: Mapping[str, int]
    requests: int
    owed: int = 0
    reads: int | None = None
    counts: tuple[SyncCounts, ...] = ()
