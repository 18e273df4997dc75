"""A plan, carried out: one lane for each sync, all at once, each change as soon as those that it refers to are done.

Lanes side by side mix the endpoints, so that Stripe's limit for each of them does not hold back the account's.
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
from dbt_stripe_sync.model.change import is_row
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

# How many changes of one sync may be under way or wait for their parents; it bounds memory, not the rate.
LANE_WIDTH = 200
# The same where many changes share a request: with an answer in 0.3 seconds these are 10,000 a second.
BULK_WIDTH = 3000
UNAUTHORIZED = 401
# So many changes one after the other without an answer, each tried several times: the next ones would fare no better.
MOST_LOST = 20


class Observer(Protocol):
    """Hears of every outcome as it is durable."""

    def on_outcome(self, outcome: Outcome) -> None:
        """One change has ended."""
        ...


class Stop:
    """A request to stop: calls in flight are finished, and nothing new is started.

    `reason` is for the report. `hear` is called once, with the number of changes in flight.
    """

    def __init__(self, hear: Callable[[int], None] | None = None) -> None:
        self.reason: str | None = None
        self.under_way = 0
        self._hear = hear

    def __call__(self, reason: str) -> None:
        """Ask to end, with the first reason given."""
        is_first = self.reason is None
        self.reason = self.reason or reason
        if is_first and self._hear is not None:
            self._hear(self.under_way)

    def __bool__(self) -> bool:
        return self.reason is not None


class Sending(Struct, frozen=True, kw_only=True):
    """How changes are sent.

    `fail_fast` ends at the first failure. A sync is stopped after `most_alike` rejections with one cause; 0 never stops
    it. `ended` has what earlier applies did, by change. `pace` is the calls a second that the
    account is asked.
    """

    fail_fast: bool = False
    most_alike: int = 0
    ended: Mapping[str, Ended] = field(default_factory=dict)
    pace: float = inf


class Tally(Struct):
    """The results of a plan's changes.

    `rows` and `steps` count, by sync and status, the rows' own changes and further steps. `not_sent` counts, by sync,
    those that were not sent because the run or their sync was stopped; `closed` says why a sync was. `before` counts,
    by sync, those that were already done.
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
    """The ids of the objects that other changes wait for; None where there will be none."""

    _waited_for: dict[str, asyncio.Future[str | None]] = field(default_factory=dict)

    def settle(self, change_id: str, stripe_id: str | None) -> None:
        future = self._future(change_id)
        if not future.done():
            future.set_result(stripe_id)

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
    """Send every change; one that is rejected stops only those that refer to it.

    `syncs` are in the order of their references. Raises `StateError` where the state can't be written.
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
    try:
        await asyncio.gather(*tasks.values())
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    return lanes.tally


class _Lanes(Struct):
    changes: Changes
    sender: Sender
    observer: Observer
    stop: Stop
    sending: Sending
    turns: Turns
    lost_in_a_row: int = 0
    tally: Tally = field(default_factory=Tally)
    parents: _Parents = field(default_factory=_Parents)
    alike: Counter[tuple[str, str]] = field(default_factory=Counter)
    locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    holders: Counter[str] = field(default_factory=Counter)

    async def run(self, sync: str, first: Sequence[asyncio.Task[None]]) -> None:
        """All changes of one sync, once those that have to be done before it are."""
        await asyncio.gather(*(asyncio.shield(task) for task in first))
        under_way: set[asyncio.Task[None]] = set()
        try:
            for change in self.changes.of(sync):
                if change.id in self.sending.ended:
                    await self._pass(change, self.sending.ended[change.id])
                    continue
                if self.stop or sync in self.tally.closed:
                    self._leave(change)
                    continue
                if len(under_way) >= (BULK_WIDTH if change.calls[0].in_bulk else LANE_WIDTH):
                    done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    _raise_first(done)
                under_way.add(asyncio.create_task(self._carry_out(change)))
            if under_way:
                done, under_way = await asyncio.wait(under_way)
                _raise_first(done)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _pass(self, change: Change, ended: Ended) -> None:
        """Skip a change that an earlier apply of the plan has finished; changes that refer to it continue."""
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

    def _leave(self, change: Change) -> None:
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
                stripe_id = outcome.stripe_id  # it is gone, which is what somebody may wait for
        finally:
            self.parents.settle(change.id, stripe_id)

    async def _send(self, change: Change) -> Outcome | None:
        """Carry a change out; None where the run was stopped before it was its turn."""
        ids = {ref: str(await self.parents.wait(f"{ref.sync}/{ref.key}")) for ref in _refs_of(change)}
        intent = build_intent(change, ids, self.sender.run_id)
        async with self._alone_with(intent.change), self._turn_of(change):
            if self.stop or change.sync in self.tally.closed:
                return None
            self.stop.under_way += 1
            try:
                return await self.sender.carry_out(intent)
            finally:
                self.stop.under_way -= 1

    def _turn_of(self, change: Change) -> AbstractAsyncContextManager[None]:
        return nullcontext() if change.calls[0].in_bulk else self.turns.of(change.sync)

    async def _skip(self, change: Change, missing: list[str]) -> Outcome:
        outcome = Outcome(
            intent_id=None,
            run_id=self.sender.run_id,
            change=change,
            status=Status.SKIPPED,
            record=None,
            reason=f"{missing[0]} was not written",
            finished_at=self.sender.clock.now(),
        )
        await self.sender.journal.close(outcome)
        return outcome

    def _count(self, outcome: Outcome) -> None:
        self.tally.count(outcome)
        self.observer.on_outcome(outcome)
        failure = outcome.failure
        is_lost = failure is not None and _is_outage(failure)
        self.lost_in_a_row = self.lost_in_a_row + 1 if is_lost else 0
        if failure is not None and self.lost_in_a_row >= MOST_LOST:
            self.stop(f"Stripe does not answer ({failure.message or failure.status})")
        if failure is not None and failure.status == UNAUTHORIZED:
            self.stop("Stripe refuses the key")
        elif failure is not None and failure.type == "permission":
            self.tally.closed[outcome.change.sync] = "the key has no permission"
        elif self.sending.fail_fast and outcome.status is not Status.SUCCEEDED:
            self.stop("--fail-fast")
        elif failure is not None and outcome.status is Status.REJECTED:
            self._bound(outcome.change.sync, failure)

    def _bound(self, sync: str, failure: StripeFailure) -> None:
        """Stop a sync whose rows are rejected for one cause again and again: the next ones would fare no better."""
        cause = ": ".join(filter(None, (failure.code or failure.type, failure.param)))
        self.alike[sync, cause] += 1
        if 0 < self.sending.most_alike <= self.alike[sync, cause] and sync not in self.tally.closed:
            self.tally.closed[sync] = f"Stripe rejected {self.alike[sync, cause]:,} of its rows with `{cause}`"

    def _alone_with(self, change: Change) -> _Held:
        return _Held(self, sorted(_locked_objects(change, self.sender.catalog.resources[change.resource].lifecycle)))


class _Held:
    """Locks on the objects that a change writes to, taken in one order so that no two changes wait for each other.

    Stripe refuses concurrent writes to one object: docs.stripe.com/rate-limits#object-lock-timeouts.
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
    """What Stripe locks for this change: its own object, its customer's or subscription's, and what it names itself.

    One usage event of a customer is taken at a time, by meter: docs.stripe.com/rate-limits.
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


def _is_outage(failure: StripeFailure) -> bool:
    """Whether there was no answer, or one of something in between: that says nothing of the row."""
    return (
        failure.type in {"connection", "not_sent", "not_stripe", "redirect"} or (failure.status or 0) > INTERNAL_ERROR
    )


def _raise_first(tasks: set[asyncio.Task[None]]) -> None:
    # All exceptions are retrieved before one is raised, since asyncio prints unretrieved ones with a traceback.
    failures = [task.exception() for task in tasks]
    for failure in failures:
        if failure is not None:
            raise failure
