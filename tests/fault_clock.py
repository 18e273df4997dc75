"""A clock for runs that would wait for minutes: sleeping takes no time, and the time can be moved."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta


class FaultClock:
    """The machine's clock, moved by every sleep and by hand. Implements `Clock`."""

    def __init__(self) -> None:
        self.moved = timedelta(0)
        self.slept = 0.0

    def move(self, by: timedelta) -> None:
        """Set the wall clock forward, or back; durations are not affected."""
        self.moved += by

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.slept, UTC) + self.moved

    def monotonic(self) -> float:
        return time.monotonic() + self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        await asyncio.sleep(0)
