"""What a plan found to be right in Stripe already: written to the records before anything is sent, in one place."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dbt_stripe_sync.engine.ports import State
    from dbt_stripe_sync.model.plan import Refreshed

AT_ONCE = 5_000


def commit_refreshes(state: State, refreshes: Iterable[Refreshed], run_id: str) -> None:
    """Write a plan's refreshes to the records, some thousand in a transaction. Raises `StateError`."""
    walked = iter(refreshes)
    while entries := list(islice(walked, AT_ONCE)):
        state.refresh(entries, run_id)
