"""The progress of a run, as a Protocol for displays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.model.plan import ReadingCost, SyncCounts
    from dbt_stripe_sync.model.run import Outcome


class Progress(Protocol):
    """Receives the progress of a run."""

    def begin_run(self, run_id: str) -> None:
        """A run has begun, and this is its id."""
        ...

    def reading_back(self, costs: Sequence[ReadingCost], calls_per_second: float) -> None:
        """The objects of these syncs are about to be read back, at most at this pace."""
        ...

    def begin_sync(self, name: str) -> None:
        """A sync's rows are about to be read and compared."""
        ...

    def rows_read(self, count: int) -> None:
        """This many more rows have been read."""
        ...

    def rows_compared(self, count: int) -> None:
        """This many more differing rows have been compared."""
        ...

    def planned(self, counts: SyncCounts) -> None:
        """A sync has been compared."""
        ...

    def begin_apply(self, total: int) -> None:
        """This many changes are about to be sent."""
        ...

    def on_outcome(self, outcome: Outcome) -> None:
        """One change has ended."""
        ...


class Silent:
    """Shows no progress."""

    def begin_run(self, run_id: str) -> None:
        """Do nothing."""

    def reading_back(self, costs: Sequence[ReadingCost], calls_per_second: float) -> None:
        """Do nothing."""

    def begin_sync(self, name: str) -> None:
        """Do nothing."""

    def rows_read(self, count: int) -> None:
        """Do nothing."""

    def rows_compared(self, count: int) -> None:
        """Do nothing."""

    def planned(self, counts: SyncCounts) -> None:
        """Do nothing."""

    def begin_apply(self, total: int) -> None:
        """Do nothing."""

    def on_outcome(self, outcome: Outcome) -> None:
        """Do nothing."""
