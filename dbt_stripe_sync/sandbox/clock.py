"""The sandbox's clock: the machine's, or a test's, which can be moved forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

# The end of the year 9999, past which Python has no dates. In Unix seconds.
LAST_SECOND = 253_402_300_799


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """Return the wall-clock time, with its time zone."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backward."""
        ...


class SystemClock:
    """The system clock."""

    def now(self) -> datetime:
        """Return the wall-clock time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary start."""
        return time.monotonic()


class MovableClock:
    """A clock that runs `offset` seconds ahead of its source."""

    def __init__(self, source: Clock | None = None, offset: float = 0.0) -> None:
        self._source = source or SystemClock()
        self.offset = offset

    def now(self) -> float:
        """Return the time in Unix seconds."""
        return self._source.now().timestamp() + self.offset

    def monotonic(self) -> float:
        """Return seconds that never go backward, for the rate limits. `advance` doesn't affect them."""
        return self._source.monotonic()

    def advance(self, seconds: float) -> None:
        """Move the wall clock forward. Raises `ValueError` if `seconds` is negative, or leads past the year 9999."""
        if seconds < 0:
            raise ValueError("the clock only moves forward")
        if not self.now() + seconds < LAST_SECOND:
            raise ValueError("the clock ends with the year 9999")
        self.offset += seconds
