"""Clocks with which tests wait for minutes without taking any time."""

from __future__ import annotations

import asyncio
import heapq
import time
from datetime import UTC, datetime
from itertools import count
from typing import Any


class HastyClock:
    """The machine's clock, but a sleep takes no time: it only moves what the clock says."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self):
        return datetime.fromtimestamp(time.time() + sum(self.slept), UTC)

    def monotonic(self):
        return time.monotonic() + sum(self.slept)

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await asyncio.sleep(0)


class VirtualClock:
    """Time that jumps to the next sleeper once nobody else has anything to do."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._sleepers: list[Any] = []
        self._order = count()

    def now(self):
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.seconds + seconds, next(self._order), woken))
        await woken

    def run(self, work):
        """Run a coroutine to its end and give its result."""

        async def watched():
            task = asyncio.ensure_future(work)
            while not task.done():
                for _ in range(10):
                    await asyncio.sleep(0)
                if not task.done() and self._sleepers:
                    self.seconds, _, woken = heapq.heappop(self._sleepers)
                    if not woken.done():
                        woken.set_result(None)
            return await task

        return asyncio.run(watched())
