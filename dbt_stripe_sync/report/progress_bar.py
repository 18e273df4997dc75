"""Shows progress on a terminal: the sync that is being read, then the changes with their rate and the time left."""

from __future__ import annotations

import time
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.report.lines import about, plain, took
from dbt_stripe_sync.report.progress import MANY_ROWS, NoDisplay, Tally, reading_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbt_stripe_sync.model.plan import ReadingCost, SyncCounts
    from dbt_stripe_sync.model.run import Outcome

# More refreshes aren't visible, and each costs time.
REFRESHES_A_SECOND = 5


class Bars(NoDisplay):
    """A spinner while rows are read, and a bar while changes are sent. A line remains for each sync."""

    def __init__(self, stream: IO[str], *, color: bool) -> None:
        self._console = Console(file=stream, no_color=not color, highlight=False, emoji=False, soft_wrap=False)
        self._live: RichProgress | None = None
        self._task = TaskID(0)
        self._tally = Tally(time.monotonic)

    def reading_back(self, costs: Sequence[ReadingCost], calls_per_second: float) -> None:
        """Print a line with the cost of reading objects back, or of searching for many."""
        if all(cost.is_search and cost.objects < MANY_ROWS for cost in costs):
            return
        self._console.print(Text(plain(reading_words(costs, calls_per_second)), "dim"))

    def begin_sync(self, name: str) -> None:
        """Show which sync's rows are read."""
        self._tally.begin_sync(name)
        self._show(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        self._begin(f"{plain(name)}: reading", None)

    def rows_read(self, count: int) -> None:
        """Show how many rows there are so far."""
        self._tally.rows += count
        if self._live is not None:
            rows = counted(self._tally.rows, "row")
            self._live.update(self._task, description=f"{plain(self._tally.sync)}: {rows} read")

    def rows_compared(self, count: int) -> None:
        """Show how many of the rows that differ have been compared."""
        self._tally.compared += count
        if self._live is not None:
            read, compared = counted(self._tally.rows, "row"), f"{self._tally.compared:,}"
            self._live.update(
                self._task, description=f"{plain(self._tally.sync)}: {read} read, {compared} compared in full"
            )

    def planned(self, counts: SyncCounts) -> None:
        """Print a line with the result of the sync."""
        self.end()
        seconds = took(counts.read_seconds + counts.diff_seconds)
        what = "held back" if counts.held is not None else f"{sum(counts.by_action.values()):,} to change"
        line = Text.assemble(
            (plain(counts.sync), "bold"), f": {counted(counts.rows, 'row')}, {what}", (f"  {seconds}", "dim")
        )
        if counts.rejected:
            line.append(f"  {counts.rejected:,} rejected", "red")
        if counts.drifted:
            line.append(f"  {counts.drifted:,} drifted", "red")
        self._console.print(line)

    def begin_apply(self, total: int) -> None:
        """Show the bar."""
        self.end()
        self._tally.begin(total)
        if not total:
            return
        self._show(
            TextColumn("sending"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._begin("", total)

    def on_outcome(self, outcome: Outcome) -> None:
        """Advance the bar."""
        self._tally.count(outcome)
        if self._live is None:
            return
        tally = self._tally
        parts = [f"{tally.rate:,.0f}/s"]
        if tally.seconds_left:
            parts.append(f"{about(tally.seconds_left)} left")
        if tally.failed:
            parts.append(counted(tally.failed, "failure"))
        self._live.update(self._task, completed=min(tally.done, tally.total), description=", ".join(parts))

    def end(self) -> None:
        """Remove the bar, because the summary has the same information."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show(self, *columns: SpinnerColumn | TextColumn | BarColumn | MofNCompleteColumn | TimeElapsedColumn) -> None:
        self.end()
        self._live = RichProgress(
            *columns, console=self._console, transient=True, refresh_per_second=REFRESHES_A_SECOND
        )

    def _begin(self, description: str, total: int | None) -> None:
        if self._live is not None:
            self._task = self._live.add_task(description, total=total)
            self._live.start()
