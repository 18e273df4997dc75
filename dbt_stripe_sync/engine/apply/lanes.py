"""Sends a plan's changes in one concurrent lane for each sync.

A change is sent as soon as the changes that it refers to are done. Concurrent lanes spread the calls over several
endpoints, so that the rate limit of one endpoint doesn't hold back the whole account.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import nullcontext
from math import inf
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from dbt_stripe_sync.engine.apply.send import INTERNAL_ERROR, Sender, build_intent
from dbt_stripe_sync.engine.apply.turns import Turns, turns_at
from dbt_stripe_sync.engine.payload.builder import refs_in
from dbt_stripe_sync.model.change import ENDS_FIRST, OWED_EARLIER, OWED_NOW, is_row
from dbt_stripe_sync.model.objects import object_value
from dbt_stripe_sync.model.run import Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from dbt_stripe_sync.model.calls import StripeFailure
    from dbt_stripe_sync.model.change import Change, Ref
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.plan import Changes, SyncCounts
    from dbt_stripe_sync.model.run import Ended

# How many changes of one sync may be in flight or wait for their parents. It bounds memory, not the rate.
LANE_WIDTH = 200
# The same if many changes share a request. With responses in 0.3 seconds, this allows 10,000 changes a second.
BULK_WIDTH = 3000
UNAUTHORIZED = 401
# A run stops after this many consecutive changes without a response. Each was retried, so the next would fail as well.
MAX_CONSECUTIVE_OUTAGES = 20
# Without a call in flight, no change ends for this long only if changes wait for each other, or for one that the plan
# doesn't have. No plan should do that; if one does, the run must not wait forever.
STUCK_SECONDS = 60.0


class Observer(Protocol):
    """Is notified of every outcome once it is durable."""

    def on_outcome(self, outcome: Outcome) -> None:
        """A change has an outcome."""
        ...


class Stop:
    """A request to stop: calls in flight are finished, and no new ones are started.

    `reason` is for the report. `on_stop` is called once, with the number of changes in flight.
    """

    def __init__(self, on_stop: Callable[[int], None] | None = None) -> None:
        self.reason: str | None = None
        self.in_flight = 0
        self._on_stop = on_stop

    def __call__(self, reason: str) -> None:
        """Request the stop. Only the first reason is kept."""
        is_first = self.reason is None
        self.reason = self.reason or reason
        if is_first and self._on_stop is not None:
            self._on_stop(self.in_flight)

    def __bool__(self) -> bool:
        return self.reason is not None


class Sending(Struct, frozen=True, kw_only=True):
    """How changes are sent.

    `fail_fast` stops the run at the first failure. A sync is stopped after `max_rejections_per_cause` rejections with
    the same cause; 0 means no limit. `ended` has the results of earlier applies of the plan, by change id. `pace` is
    the account's limit in calls a second.
    """

    fail_fast: bool = False
    max_rejections_per_cause: int = 0
    ended: Mapping[str, Ended] = field(default_factory=dict)
    pace: float = inf


class Tally(Struct):
    """The results of a plan's changes.

    `rows` counts changes of rows and `steps` counts further steps, both by sync and status. `not_sent` counts, by sync,
    the changes that were not sent because the run or their sync was stopped. `closed` has the reason for each stopped
    sync. `before` counts, by sync, the rows that an earlier apply of the plan had finished; `steps_before` counts such
    steps.
    """

    done: Counter[Status] = field(default_factory=Counter)
    rows: Counter[tuple[str, Status]] = field(default_factory=Counter)
    steps: Counter[tuple[str, Status]] = field(default_factory=Counter)
    not_sent: Counter[str] = field(default_factory=Counter)
    closed: dict[str, str] = field(default_factory=dict)
    before: Counter[str] = field(default_factory=Counter)
    steps_before: int = 0

    def count(self, outcome: Outcome) -> None:
        """Count one outcome."""
        change, status = outcome.change, outcome.status
        self.done[status] += 1
        (self.rows if is_row(change) else self.steps)[change.sync, status] += 1


class _Parents(Struct):
    """The Stripe ids that other changes wait for, by change id; None if the change didn't write its object."""

    _waited_for: dict[str, asyncio.Future[str | None]] = field(default_factory=dict)

    def settle(self, change_id: str, stripe_id: str | None) -> None:
        future = self._future(change_id)
        if not future.done():
            future.set_result(stripe_id)

    def give_up(self) -> None:
        """Stop waiting: what was not written by now counts as not written."""
        for future in self._waited_for.values():
            if not future.done():
                future.set_result(None)

    async def wait(self, change_id: str) -> str | None:
        return await asyncio.shield(self._future(change_id))

    def _future(self, change_id: str) -> asyncio.Future[str | None]:
        if change_id not in self._waited_for:
            self._waited_for[change_id] = asyncio.get_running_loop().create_future()
        return self._waited_for[change_id]


async def apply_changes(
    changes: Changes,
    syncs: Iterable[SyncCounts],
    sender: Sender,
    observer: Observer,
    stop: Stop,
    *,
    sending: Sending,
) -> Tally:
    """Send every change. If one is rejected, only the changes that refer to it are skipped.

    `syncs` must be in the order of their references. Side effects: calls Stripe, and writes intents, outcomes and
    records to the state. Raises `StateError` if the state can't be written.
    """
    lanes = _Lanes(
        changes=changes,
        sender=sender,
        observer=observer,
        stop=stop,
        sending=sending,
        turns=turns_at(sending.pace, fail_fast=sending.fail_fast),
    )
    tasks: dict[str, asyncio.Task[None]] = {}
    for counts in syncs:
        first = [tasks[name] for name in counts.after if name in tasks]
        tasks[counts.sync] = asyncio.create_task(lanes.run(counts.sync, first))
    watch = asyncio.create_task(lanes.watch())
    try:
        await asyncio.gather(*tasks.values())
    finally:
        for task in (watch, *tasks.values()):
            task.cancel()
        await asyncio.gather(watch, *tasks.values(), return_exceptions=True)
    return lanes.tally


class _Lanes(Struct):
    changes: Changes
    sender: Sender
    observer: Observer
    stop: Stop
    sending: Sending
    turns: Turns
    consecutive_outages: int = 0
    tally: Tally = field(default_factory=Tally)
    parents: _Parents = field(default_factory=_Parents)
    rejections: Counter[tuple[str, str]] = field(default_factory=Counter)
    locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    holders: Counter[str] = field(default_factory=Counter)

    async def run(self, sync: str, first: Sequence[asyncio.Task[None]]) -> None:
        """Send all changes of one sync, once the syncs in `first` are done."""
        await asyncio.gather(*(asyncio.shield(task) for task in first))
        in_flight: set[asyncio.Task[None]] = set()
        try:
            for change in self.changes.of(sync):
                if change.id in self.sending.ended:
                    await self._skip_ended(change, self.sending.ended[change.id])
                    continue
                if self.stop or sync in self.tally.closed:
                    self._leave_unsent(change)
                    continue
                if len(in_flight) >= (BULK_WIDTH if change.calls[0].in_bulk else LANE_WIDTH):
                    done, in_flight = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                    _raise_first(done)
                in_flight.add(asyncio.create_task(self._carry_out(change)))
            if in_flight:
                done, in_flight = await asyncio.wait(in_flight)
                _raise_first(done)
        finally:
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)

    async def watch(self) -> None:
        """Skip changes that would wait forever."""
        before = -1
        while True:
            await asyncio.sleep(STUCK_SECONDS)
            ended = self.tally.done.total() + self.tally.not_sent.total()
            if ended == before and not self.stop.in_flight:
                self.parents.give_up()
            before = ended

    async def _skip_ended(self, change: Change, ended: Ended) -> None:
        """Skip a change that an earlier apply of the plan has finished. Changes that refer to it are still sent."""
        self.parents.settle(change.id, ended.stripe_id)
        if ended.status is Status.SUCCEEDED:
            self.tally.before[change.sync] += is_row(change)
            self.tally.steps_before += not is_row(change)
        if ended.status is not Status.REJECTED:
            return
        outcome = Outcome(
            intent_id=None,
            run_id=self.sender.run_id,
            change=change,
            status=Status.REJECTED,
            record=None,
            stripe_id=ended.stripe_id,
            reason="an earlier `apply` created its object, and Stripe rejected the rest; the next `run` plans it again",
            finished_at=self.sender.clock.now(),
        )
        await self.sender.journal.close(outcome)
        self.tally.count(outcome)
        self.observer.on_outcome(outcome)

    def _leave_unsent(self, change: Change) -> None:
        self.tally.not_sent[change.sync] += 1
        self.parents.settle(change.id, None)

    async def _carry_out(self, change: Change) -> None:
        stripe_id: str | None = None
        try:
            missing = [parent for parent in change.depends_on if await self.parents.wait(parent) is None]
            if self.stop or change.sync in self.tally.closed:
                self.tally.not_sent[change.sync] += 1
                return
            outcome = await (self._skip(change, missing) if missing else self._send(change))
            if outcome is None:
                self.tally.not_sent[change.sync] += 1
                return
            self._count(outcome)
            if outcome.record is not None:
                stripe_id = outcome.record.stripe_id
            elif outcome.status is Status.SUCCEEDED:
                stripe_id = outcome.stripe_id  # the object was removed, which other changes may wait for
        finally:
            self.parents.settle(change.id, stripe_id)

    async def _send(self, change: Change) -> Outcome | None:
        """Send a change; None if the run or its sync was stopped while it waited for its turn."""
        ids = {ref: str(await self.parents.wait(f"{ref.sync}/{ref.key}")) for ref in _refs_of(change)}
        intent = build_intent(change, ids, self.sender.run_id)
        async with self._locks_of(intent.change), self._turn_of(change):
            if self.stop or change.sync in self.tally.closed:
                return None
            self.stop.in_flight += 1
            try:
                return await self.sender.carry_out(intent)
            finally:
                self.stop.in_flight -= 1

    def _turn_of(self, change: Change) -> AbstractAsyncContextManager[None]:
        return nullcontext() if change.calls[0].in_bulk else self.turns.of(change.sync)

    async def _skip(self, change: Change, missing: list[str]) -> Outcome:
        outcome = Outcome(
            intent_id=None,
            run_id=self.sender.run_id,
            change=change,
            status=Status.SKIPPED,
            record=None,
            reason=_why_missing(missing[0]),
            finished_at=self.sender.clock.now(),
        )
        await self.sender.journal.close(outcome)
        return outcome

    def _count(self, outcome: Outcome) -> None:
        self.tally.count(outcome)
        self.observer.on_outcome(outcome)
        failure = outcome.failure
        is_outage = failure is not None and _is_outage(failure)
        self.consecutive_outages = self.consecutive_outages + 1 if is_outage else 0
        if failure is not None and self.consecutive_outages >= MAX_CONSECUTIVE_OUTAGES:
            self.stop(f"Stripe does not answer ({failure.message or failure.status})")
        if failure is not None and failure.status == UNAUTHORIZED:
            self.stop("Stripe refuses the key")
        elif failure is not None and failure.type == "permission":
            self.tally.closed[outcome.change.sync] = "the key has no permission"
        elif self.sending.fail_fast and outcome.status is not Status.SUCCEEDED:
            self.stop("--fail-fast")
        elif failure is not None and outcome.status is Status.REJECTED:
            self._count_rejection(outcome.change.sync, failure)

    def _count_rejection(self, sync: str, failure: StripeFailure) -> None:
        """Stop a sync once too many of its rows were rejected for the same cause."""
        cause = ": ".join(filter(None, (failure.code or failure.type, failure.param)))
        self.rejections[sync, cause] += 1
        count, limit = self.rejections[sync, cause], self.sending.max_rejections_per_cause
        if 0 < limit <= count and sync not in self.tally.closed:
            self.tally.closed[sync] = f"Stripe rejected {count:,} of its rows with `{cause}`"

    def _locks_of(self, change: Change) -> _ObjectLocks:
        names = _locked_objects(change, self.sender.catalog.resources[change.resource].lifecycle)
        return _ObjectLocks(self, sorted(names))


class _ObjectLocks:
    """Locks on the objects that a change writes to. They are always acquired in sorted order, to prevent deadlocks.

    Stripe rejects concurrent writes to one object: docs.stripe.com/rate-limits#object-lock-timeouts.
    """

    def __init__(self, lanes: _Lanes, names: list[str]) -> None:
        self._lanes = lanes
        self._names = names

    async def __aenter__(self) -> None:
        for name in self._names:
            self._lanes.holders[name] += 1
        for name in self._names:
            await self._lanes.locks[name].acquire()

    async def __aexit__(self, *_: object) -> None:
        for name in self._names:
            self._lanes.locks[name].release()
            self._lanes.holders[name] -= 1
            if not self._lanes.holders[name]:
                del self._lanes.locks[name], self._lanes.holders[name]


def _locked_objects(change: Change, lifecycle: Lifecycle) -> set[str]:
    """What Stripe locks for this change: its own object, the targets of its calls, and its customer or the like.

    Stripe accepts one usage event at a time for each customer and meter: docs.stripe.com/rate-limits.
    """
    targets = (call.target for call in change.calls)
    named = [
        change.stripe_id,
        *targets,
        *(change.desired.get(name) for name in ("customer", "subscription", "invoice")),
    ]
    alone = [str(object_value(change.desired, path)) for path in lifecycle.one_at_a_time]
    is_alone = bool(alone) and not change.calls[0].in_bulk
    return {name for name in named if isinstance(name, str)} | ({" ".join(alone)} if is_alone else set())


def _refs_of(change: Change) -> set[Ref]:
    found = set(refs_in(dict(change.desired)))
    for call in change.calls:
        found |= set(refs_in([call.target, dict(call.params)]))
    return found


def _why_missing(change_id: str) -> str:
    """Why a change that others wait for has no object, in words for a person."""
    for suffix in (OWED_NOW, OWED_EARLIER):
        if change_id.endswith(suffix):
            return f"{change_id.removesuffix(suffix)} still owes a step"
    return f"{change_id.removesuffix(ENDS_FIRST)} was not written"


def _is_outage(failure: StripeFailure) -> bool:
    """Whether Stripe didn't respond, or something in between did. Such a failure isn't caused by the row."""
    return (
        failure.type in {"connection", "not_sent", "not_stripe", "redirect"} or (failure.status or 0) > INTERNAL_ERROR
    )


def _raise_first(tasks: set[asyncio.Task[None]]) -> None:
    # Retrieve all exceptions before raising one, because asyncio prints a traceback for those that nobody retrieves.
    failures = [task.exception() for task in tasks]
    for failure in failures:
        if failure is not None:
            raise failure
