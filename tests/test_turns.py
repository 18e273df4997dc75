"""How the changes of several syncs share the concurrent requests."""

from __future__ import annotations

import asyncio

from dbt_stripe_sync.engine.apply.turns import Turns


def test_the_next_turn_goes_to_the_sync_with_the_fewest_changes_in_flight():
    began: list[str] = []

    async def change(turns, sync, done):
        async with turns.of(sync):
            began.append(sync)
            await done.wait()

    async def share():
        turns = Turns(least=4, seconds=0.0)
        done = [asyncio.Event() for _ in range(4)]
        held = [asyncio.create_task(change(turns, "customers", one)) for one in done]
        never = asyncio.Event()
        waiting = [
            asyncio.create_task(change(turns, sync, never))
            for sync in ("customers", "customers", "products", "products", "prices")
        ]
        for one in done:
            await asyncio.sleep(0.01)
            one.set()
        await asyncio.sleep(0.01)
        for task in (*held, *waiting):
            task.cancel()
        await asyncio.gather(*held, *waiting, return_exceptions=True)

    asyncio.run(share())

    assert began[:4] == ["customers"] * 4
    assert began[4:6] == ["products", "prices"]
    assert len(began) == 8


def test_a_change_cancelled_while_waiting_uses_no_turn():
    async def wait(turns, began):
        async with turns.of("customers"):
            began.append(True)

    async def cancel_one():
        turns = Turns(least=1, seconds=0.0)
        began: list[bool] = []
        async with turns.of("prices"):
            waiting = [asyncio.create_task(wait(turns, began)) for _ in range(2)]
            await asyncio.sleep(0.01)
            waiting[0].cancel()
            await asyncio.sleep(0.01)
        await asyncio.wait_for(waiting[1], 5)
        return began

    assert asyncio.run(cancel_one()) == [True]
