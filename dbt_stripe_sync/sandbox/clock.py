"""The sandbox's time: the machine's, or a test's, moved forward on demand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of time."""

    def now(self) -> datetime:
        """The wall clock, with its zone."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The wall clock in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since some start."""
        return time.monotonic()


class MovableClock:
    """A clock that runs `offset` seconds ahead of its source."""

    def __init__(self, source: Clock | None = None, offset: float = 0.0) -> None:
        self._source = source or SystemClock()
        self.offset = offset

    def now(self) -> float:
        """Unix seconds."""
        return self._source.now().timestamp() + self.offset

    def monotonic(self) -> float:
        """Seconds that only grow, for the rate limits; `advance` does not move them."""
        return self._source.monotonic()

    def advance(self, seconds: float) -> None:
        """Move the wall clock forward. Raises `ValueError` for a step back."""
        if seconds < 0:
            raise ValueError("the clock only moves forward")
        self.offset += seconds
