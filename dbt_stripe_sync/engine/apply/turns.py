"""How many changes may be between their intent and their outcome at once: a run that is stopped has to end them."""

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

# More than Stripe's pace for an account ever needs (100 calls a second, each answered in 0.3 seconds or so).
MOST_UNDER_WAY = 48
# If the server is faster than Stripe, as many more as finish in this time, so that a stop takes no longer.
SECONDS_TO_END = 0.5
# With --fail-fast: enough for the pace of one endpoint, and few enough that little happens after the first failure.
FEW_UNDER_WAY = 8
# Each waits for its turn at the pace of the account: where that is slow, fewer wait, since a stop ends them all.
SECONDS_OF_PACE = 1.5


def turns_at(calls_per_second: float, *, fail_fast: bool) -> Turns:
    """As many as keep the pace of the account, and no more than a stop can end soon."""
    most, seconds = (FEW_UNDER_WAY, 0.0) if fail_fast else (MOST_UNDER_WAY, SECONDS_TO_END)
    paced = ceil(calls_per_second * SECONDS_OF_PACE) if calls_per_second < most else most
    return Turns(least=max(1, min(most, paced)), seconds=seconds)


class Turns(Struct):
    """Gives each change that is under way a turn.

    There is room for `least`, or for as many as have ended in the last `seconds` if those are more. A free turn goes to
    the lane with the fewest changes under way. Each lane has an endpoint, and a pace, of its own: if one lane had all
    the turns, most of the account's pace would be wasted.
    """

    least: int = MOST_UNDER_WAY
    seconds: float = SECONDS_TO_END
    _under_way: Counter[str] = field(default_factory=Counter)
    _ended: deque[float] = field(default_factory=deque)
    _waiting: dict[str, deque[asyncio.Future[None]]] = field(default_factory=dict)

    @asynccontextmanager
    async def of(self, lane: str) -> AsyncIterator[None]:
        """Wait until there is room for one more change, and hold its turn until the context ends."""
        while self._under_way.total() >= self._room():
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(lane, deque()).append(turn)
            await turn
        self._under_way[lane] += 1
        try:
            yield
        finally:
            self._under_way[lane] -= 1
            self._ended.append(time.monotonic())
            self._give_turns()

    def _give_turns(self) -> None:
        free = self._room() - self._under_way.total()
        given = self._under_way.copy()
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
