"""Limits how many read requests a plan and each of its syncs make, by their `max_reads`.

Stripe includes 500 reads for each transaction and at least 10,000 a month (docs.stripe.com/rate-limits). The first sync
of a large account, or a refresh, can take more than that.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import Location, Problem, ReadLimitError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Iterable

    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.sync import Sync


_T = TypeVar("_T")
_BY_PROJECT = "`max_reads` in vars.stripe_sync"
_INCLUDED = "Stripe includes 500 reads for each transaction and at least 10,000 a month"


async def read_together(readings: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """Read several things concurrently. If one exceeds the limit, the others are cancelled."""
    tasks = [asyncio.ensure_future(reading) for reading in readings]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


@dataclass(slots=True)
class Reads:
    """The reads of one plan. `most` is the project's limit for the whole plan."""

    stripe: Stripe
    most: int | None = None
    _started: int = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.stripe.reads

    @property
    def left(self) -> float:
        """How many reads the project's limit still allows."""
        return inf if self.most is None else max(0, self.most - (self.stripe.reads - self._started))

    def share_of(self, sync: Sync, *, used: int = 0) -> Share:
        """How many reads a sync may still make, by its own limit and the project's, after it has `used` some."""
        left = self.left
        own = inf if sync.limits.max_reads is None else max(0, sync.limits.max_reads - used)
        self.stripe.allow_reads(min(left, own))
        return Share(
            stripe=self.stripe, sync=sync, began=self.stripe.reads - used, by_project=self.most if left < own else None
        )

    def end(self) -> None:
        """Lift the limit. The remaining reads of a run are few, and prevent duplicates."""
        self.stripe.allow_reads(inf)


class Share(Struct, kw_only=True):
    """The reads of one sync. If it needs more than it may, `problem` says so."""

    stripe: Stripe
    sync: Sync
    began: int
    by_project: int | None
    problem: Problem | None = None

    @property
    def made(self) -> int:
        """The number of reads so far."""
        return self.stripe.reads - self.began

    async def within(self, reading: Awaitable[None]) -> None:
        """Read, or stop when that takes more than is allowed."""
        try:
            await reading
        except ReadLimitError as error:
            self.problem = self._problem(error.needed)

    def _problem(self, needed: int | None) -> Problem:
        sync = self.sync
        total = self.made + (needed or 1)
        if self.by_project is None:
            limit = f"`limits.max_reads` of `{sync.name}` is {sync.limits.max_reads:,}"
            where = sync.where.at_field("limits", "max_reads")
        else:
            limit = f"the project's `max_reads` is {self.by_project:,} for all of its syncs"
            where = Location(sync=sync.name)
        return Problem(
            code="max-reads",
            summary=f"`{sync.name}` needs at least {counted(total, 'read')} of Stripe, and {limit}",
            where=where,
            hint=f"raise {'the limit' if self.by_project is None else _BY_PROJECT}, or sync fewer rows; {_INCLUDED}",
        )


def no_reads_left(change: Change, needed: str) -> Problem:
    """Why a removal is not sent: no reads are left to find out what else it would affect."""
    return Problem(
        code="max-reads",
        summary=f"the project's `max_reads` is used up before it is known which {needed} this removal would affect",
        where=Location(sync=change.sync, key=change.key),
        hint=f"raise {_BY_PROJECT}; {_INCLUDED}",
    )
