"""The progress of a run: its interface, its counts, and its wording."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING, Protocol, Self

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.progress import Progress, Silent
from dbt_stripe_sync.model.run import Status
from dbt_stripe_sync.report.lines import about

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from dbt_stripe_sync.model.plan import ReadingCost
    from dbt_stripe_sync.model.run import Outcome

# Searching Stripe for fewer rows than this is not worth a line.
MANY_ROWS = 100


class ProgressDisplay(Progress, Protocol):
    """Shows the progress of a run. It is a context manager, and the display ends with it."""

    def end(self) -> None:
        """End the display; calling it again does nothing."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End."""
        ...


class NoDisplay(Silent):
    """Shows no progress."""

    def end(self) -> None:
        """Say nothing."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the display, also after an error."""
        self.end()


class Tally:
    """The counts so far, and the rate."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.begin_sync("")
        self.begin(0)

    def begin_sync(self, name: str) -> None:
        """Begin counting a sync's rows."""
        self.sync, self.rows, self.compared = name, 0, 0

    def begin(self, total: int) -> None:
        """Begin counting changes."""
        self.total = total
        self.done = 0
        self.failed = 0
        self.started = self._clock()

    def count(self, outcome: Outcome) -> None:
        """Count one change."""
        self.done += 1
        self.failed += outcome.status is not Status.SUCCEEDED

    @property
    def rate(self) -> float:
        """Changes per second."""
        return self.done / max(self._clock() - self.started, 0.001)

    @property
    def seconds_left(self) -> float | None:
        """An estimate, once there is enough data for one."""
        return max(0, self.total - self.done) / self.rate if self.done else None


def reading_words(costs: Sequence[ReadingCost], calls_per_second: float) -> str:
    """The cost of reading objects back: `reading 1,000 objects back from Stripe: 10 to 1,100 calls, …`."""
    objects = ", ".join(f"{cost.sync} {cost.objects:,}" for cost in costs)
    least, most = sum(cost.least for cost in costs), sum(cost.most for cost in costs)
    if any(cost.is_search for cost in costs):
        rows, syncs = counted(sum(cost.objects for cost in costs), "row"), ", ".join(cost.sync for cost in costs)
        return f"looking for {rows} of {syncs} in Stripe: {_reads(most, calls_per_second)}"
    calls = f"{least:,} to {counted(int(most), 'call')}" if least < most else counted(int(most), "call")
    total = counted(sum(cost.objects for cost in costs), "object")
    return f"reading {total} back from Stripe ({objects}): {calls}, {about(most / calls_per_second)} at most"


def _reads(most: float, calls_per_second: float) -> str:
    if isinf(most):
        return "a read for each 100 objects of the account"
    newest = "and one for each 100 objects of the last day"
    return f"up to {counted(int(most), 'read')} {newest}, {about(most / calls_per_second)}"
