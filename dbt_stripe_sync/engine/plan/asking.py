"""Decides on many rows at once, so that what they ask for is read together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.engine.decide.rules import Ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import TypeAlias

    from dbt_stripe_sync.engine.decide.rules import Decision, Need, Observed

    Answer: TypeAlias = Callable[[Mapping[str, Need], Mapping[str, Observed]], Awaitable[Mapping[str, Observed]]]


async def decide_in_rounds(
    observed: dict[str, Observed], decide: Callable[[str], Decision], answer: Answer
) -> AsyncIterator[Mapping[str, Decision]]:
    """Decide on the rows with these keys, round by round, until none of them asks for anything more.

    Each round returns the rows that were decided in it. What the others ask for is read before the next round and added
    to `observed`, which `decide` reads.
    """
    open_rows = list(observed)
    while open_rows:
        asked: dict[str, Need] = {}
        decided: dict[str, Decision] = {}
        for key in open_rows:
            decision = decide(key)
            if isinstance(decision, Ask):
                asked[key] = decision.need
            else:
                decided[key] = decision
        yield decided
        if asked:
            observed.update(await answer(asked, observed))
        open_rows = list(asked)
