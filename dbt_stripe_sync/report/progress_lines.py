"""Shows the progress of a run: bars on a terminal, plain lines elsewhere, JSON lines for machines, or nothing.

All of them write to stderr, so that stdout has only data. None shows row values.
"""

from __future__ import annotations

import io
import time
from contextlib import suppress
from datetime import UTC, datetime
from math import isinf
from typing import IO, TYPE_CHECKING, cast

import orjson

from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.run import Status
from dbt_stripe_sync.report.lines import about, escaped, plain, took
from dbt_stripe_sync.report.progress import MANY_ROWS, NoDisplay, Tally, reading_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dbt_stripe_sync.model.plan import ReadingCost, SyncCounts
    from dbt_stripe_sync.model.run import Outcome
    from dbt_stripe_sync.report.progress import ProgressDisplay

# Often enough to show that the run is alive, and rarely enough for a log that is kept.
QUIET_SECONDS = 10.0


class PlainLines(NoDisplay):
    """Single lines for a log: one for each sync, and one every ten seconds while changes are sent."""

    def __init__(self, stream: IO[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._tally = Tally(clock)
        self._said = clock()

    def reading_back(self, costs: Sequence[ReadingCost], calls_per_second: float) -> None:
        """Print the cost of reading objects back, or of searching for them, unless it is small."""
        if all(cost.is_search and cost.objects < MANY_ROWS for cost in costs):
            return
        self._say(reading_words(costs, calls_per_second))

    def begin_sync(self, name: str) -> None:
        """Note which sync is read next."""
        self._tally.begin_sync(name)
        self._said = self._clock()

    def rows_read(self, count: int) -> None:
        """Print the number of rows so far, every ten seconds."""
        self._tally.rows += count
        if self._is_time():
            self._say(f"{self._tally.sync}: {counted(self._tally.rows, 'row')} read")

    def rows_compared(self, count: int) -> None:
        """Print how many of the differing rows have been compared, every ten seconds."""
        self._tally.compared += count
        if self._is_time():
            self._say(f"{self._tally.sync}: {counted(self._tally.compared, 'row')} compared in full")

    def planned(self, counts: SyncCounts) -> None:
        """Print the result of a sync."""
        seconds = took(counts.read_seconds + counts.diff_seconds)
        changes = sum(counts.by_action.values())
        what = "held back" if counts.held is not None else f"{changes:,} to change"
        rejected = f", {counts.rejected:,} rejected" if counts.rejected else ""
        drifted = f", {counts.drifted:,} drifted" if counts.drifted else ""
        self._say(f"{counts.sync}: {counted(counts.rows, 'row')}, {what}{rejected}{drifted} ({seconds})")

    def begin_apply(self, total: int) -> None:
        """Print how many changes will be sent."""
        self._tally.begin(total)
        if total:
            self._say(f"sending {counted(total, 'change')}")

    def on_outcome(self, outcome: Outcome) -> None:
        """Count, and print the progress every ten seconds."""
        self._tally.count(outcome)
        if self._is_time() and self._tally.total:
            tally = self._tally
            left = f", {about(tally.seconds_left)} left" if tally.seconds_left else ""
            failed = f", {counted(tally.failed, 'failure')}" if tally.failed else ""
            self._say(f"{tally.done:,} of {counted(tally.total, 'change')}, {tally.rate:,.0f}/s{failed}{left}")

    def _is_time(self) -> bool:
        return self._clock() - self._said >= QUIET_SECONDS

    def _say(self, text: str) -> None:
        self._said = self._clock()
        _write(self._stream, plain(text))


class JsonLines(NoDisplay):
    """Writes one JSON object per line, for log collectors: `event` names it, `elapsed` is in seconds since the start.

    `time` is UTC, `level` is `info`, `warning` or `error`, and `run_id` is the run's, null before there is one. Events:
    `run_started`, `reading_back`, `looking_up`, `sync_started`, `rows_read`, `rows_compared`, `sync_planned`,
    `apply_started`, `apply_progress`, `change_failed`, `ended`. `rate` is in changes per second, and `seconds_left` an
    estimate based on it.
    """

    def __init__(self, stream: IO[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._started = clock()
        self._said = self._started
        self._tally = Tally(clock)
        self._is_over = False
        _name_run(None)

    def begin_run(self, run_id: str) -> None:
        """Write `run_started`; every line from here on names the run."""
        _name_run(run_id)
        self._say("run_started")

    def reading_back(self, costs: Sequence[ReadingCost], calls_per_second: float) -> None:
        """Write `reading_back` or `looking_up`: how many objects of which syncs, and the fewest and most calls."""
        least, most = sum(cost.least for cost in costs), sum(cost.most for cost in costs)
        self._say(
            "looking_up" if any(cost.is_search for cost in costs) else "reading_back",
            objects={cost.sync: cost.objects for cost in costs},
            least_calls=least,
            most_calls=None if isinf(most) else most,
            most_seconds=None if isinf(most) else round(most / calls_per_second, 1),
        )

    def begin_sync(self, name: str) -> None:
        """Write `sync_started`."""
        self._tally.begin_sync(name)
        self._say("sync_started", sync=name)

    def rows_read(self, count: int) -> None:
        """Write `rows_read`, every ten seconds."""
        self._tally.rows += count
        if self._clock() - self._said >= QUIET_SECONDS:
            self._say("rows_read", sync=self._tally.sync, rows=self._tally.rows)

    def rows_compared(self, count: int) -> None:
        """Write `rows_compared`, every ten seconds."""
        self._tally.compared += count
        if self._clock() - self._said >= QUIET_SECONDS:
            self._say("rows_compared", sync=self._tally.sync, rows=self._tally.compared)

    def planned(self, counts: SyncCounts) -> None:
        """Write `sync_planned`."""
        self._say(
            "sync_planned",
            sync=counts.sync,
            rows=counts.rows,
            same=counts.same,
            rejected=counts.rejected,
            drifted=counts.drifted,
            held=counts.held,
            changes=dict(counts.by_action),
            read_seconds=round(counts.read_seconds, 3),
            compare_seconds=round(counts.diff_seconds, 3),
        )

    def begin_apply(self, total: int) -> None:
        """Write `apply_started`."""
        self._tally.begin(total)
        self._say("apply_started", changes=total)

    def on_outcome(self, outcome: Outcome) -> None:
        """Write `change_failed` for anything that did not succeed, and `apply_progress` every ten seconds."""
        self._tally.count(outcome)
        if outcome.status is not Status.SUCCEEDED:
            failure = outcome.failure
            self._say(
                "change_failed",
                sync=outcome.change.sync,
                key=outcome.change.key,
                action=outcome.change.action.value,
                status=outcome.status.value,
                code=failure.code or failure.type if failure else None,
                request_id=outcome.request_id,
            )
        if self._clock() - self._said >= QUIET_SECONDS:
            tally = self._tally
            self._say(
                "apply_progress",
                done=tally.done,
                changes=tally.total,
                failed=tally.failed,
                rate=round(tally.rate, 1),
                seconds_left=None if tally.seconds_left is None else round(tally.seconds_left),
            )

    def end(self) -> None:
        """Write `ended`, once."""
        if not self._is_over:
            self._is_over = True
            self._say("ended", done=self._tally.done, failed=self._tally.failed)

    def _say(self, event: str, **facts: object) -> None:
        now = self._clock()
        if event != "change_failed":
            # Failures don't delay the progress line.
            self._said = now
        level = "error" if event == "change_failed" else "info"
        _write(self._stream, log_line(event, level, elapsed=round(now - self._started, 3), **facts))


_run_id: str | None = None


def _name_run(run_id: str | None) -> None:
    global _run_id  # noqa: PLW0603 - one process has one log, and its lines come from several places
    _run_id = run_id


def log_line(event: str, level: str, **facts: object) -> str:
    """One line for log collectors: what happened, at which `time` (UTC), of which `level`, in which run."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return escaped(orjson.dumps({"event": event, "time": now, "level": level, "run_id": _run_id, **facts}).decode())


def open_progress(log_format: str, stream: IO[str], *, color: bool = True) -> ProgressDisplay:
    """Progress in the requested form: `json`, or `text`, which is a bar on a terminal."""
    stream = cast("IO[str]", Steadfast(stream))
    if log_format == "json":
        return JsonLines(stream)
    if stream.isatty():
        from dbt_stripe_sync.report.progress_bar import Bars

        return Bars(stream, color=color)
    return PlainLines(stream)


class Steadfast(io.TextIOBase):
    """A stream whose reader may disappear (`2>&1 | head`, a closed terminal) without ending the run."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if the stream is still open."""
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, if the stream is still open."""
        with suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The underlying file, from which a terminal's width is read."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream."""
        return str(getattr(self._stream, "encoding", None) or "utf-8")


def _write(stream: IO[str], line: str) -> None:
    # A run doesn't fail because its progress can't be printed.
    with suppress(OSError, ValueError):
        print(line, file=stream, flush=True)
