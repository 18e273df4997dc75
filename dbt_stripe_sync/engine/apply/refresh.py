"""Updates the records of rows that a plan found to be correct in Stripe already."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dbt_stripe_sync.engine.ports import State
    from dbt_stripe_sync.model.plan import Refreshed

AT_ONCE = 5_000


def commit_refreshes(state: State, refreshes: Iterable[Refreshed], run_id: str) -> None:
    """Write a plan's record updates to the state, some thousand in each transaction. Raises `StateError`."""
    walked = iter(refreshes)
    while entries := list(islice(walked, AT_ONCE)):
        state.refresh(entries, run_id)
