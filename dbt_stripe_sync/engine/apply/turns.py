"""Limits how many changes are in flight at once, because a stopped run has to finish them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from contextlib import asynccontextmanager
from math import ceil
from typing import TYPE_CHECKING

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# More than Stripe's rate limit for an account ever needs (100 calls a second, with responses in about 0.3 seconds).
MAX_IN_FLIGHT = 48
# If the server is faster than Stripe, as many changes as finish in this time, so that a stop takes no longer.
SECONDS_TO_FINISH = 0.5
# With --fail-fast: enough for the rate limit of one endpoint, and few enough that little is sent after a failure.
MAX_IN_FLIGHT_FAIL_FAST = 8
# If the account's rate limit is low, no more changes than it allows in this time, because a stop waits for them all.
SECONDS_OF_PACE = 1.5


def turns_at(calls_per_second: float, *, fail_fast: bool) -> Turns:
    """Enough turns to use the account's rate limit, but no more than a stop can finish quickly."""
    most, seconds = (MAX_IN_FLIGHT_FAIL_FAST, 0.0) if fail_fast else (MAX_IN_FLIGHT, SECONDS_TO_FINISH)
    paced = ceil(calls_per_second * SECONDS_OF_PACE) if calls_per_second < most else most
    return Turns(least=max(1, min(most, paced)), seconds=seconds)


class Turns(Struct):
    """Gives a turn to each change in flight.

    There are `least` turns, or as many as changes finished in the last `seconds` if that is more. A free turn goes to
    the lane with the fewest changes in flight. Lanes use different endpoints with separate rate limits, so if one lane
    had all the turns, most of the account's rate limit would be unused.
    """

    least: int = MAX_IN_FLIGHT
    seconds: float = SECONDS_TO_FINISH
    _in_flight: Counter[str] = field(default_factory=Counter)
    _ended: deque[float] = field(default_factory=deque)
    _waiting: dict[str, deque[asyncio.Future[None]]] = field(default_factory=dict)

    @asynccontextmanager
    async def of(self, lane: str) -> AsyncIterator[None]:
        """Wait for a free turn, and hold it until the context ends."""
        while self._in_flight.total() >= self._room():
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(lane, deque()).append(turn)
            await turn
        self._in_flight[lane] += 1
        try:
            yield
        finally:
            self._in_flight[lane] -= 1
            self._ended.append(time.monotonic())
            self._give_turns()

    def _give_turns(self) -> None:
        free = self._room() - self._in_flight.total()
        given = self._in_flight.copy()
        while free > 0 and self._waiting:
            lane = min(self._waiting, key=given.__getitem__)
            turn = self._waiting[lane].popleft()
            if not self._waiting[lane]:
                del self._waiting[lane]
            if not turn.done():
                turn.set_result(None)
                given[lane] += 1
                free -= 1

    def _room(self) -> int:
        since = time.monotonic() - self.seconds
        while self._ended and self._ended[0] < since:
            self._ended.popleft()
        return max(self.least, len(self._ended))
