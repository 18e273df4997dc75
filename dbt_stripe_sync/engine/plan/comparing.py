"""Which syncs' rows the warehouse compares, and when every row has to be seen here all the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from dbt_stripe_sync.engine.stage.differing import build_hashed_rows, reason_to_read_all
from dbt_stripe_sync.engine.stage.staged import Compared
from dbt_stripe_sync.model.plan import Note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.payload.layout import Layout
    from dbt_stripe_sync.engine.plan.finalization import Referrers
    from dbt_stripe_sync.engine.plan.refreshing import Refreshing
    from dbt_stripe_sync.engine.ports import RowDiffs, State
    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.model.hashes import HashMark
    from dbt_stripe_sync.model.params import Resource
    from dbt_stripe_sync.model.sync import Sync


@dataclass(kw_only=True)
class Comparing:
    """How the rows of the syncs among `syncs` are compared; all others are compared here."""

    diffs: RowDiffs | None
    state: State
    syncs: frozenset[str]
    refreshing: Refreshing
    referrers: Referrers

    @cached_property
    def _marks(self) -> Mapping[str, HashMark]:
        return self.state.hash_marks()

    def of(self, staged: Staged, resource: Resource, *, recheck: bool) -> tuple[Compared | None, Sequence[Note]]:
        """How a sync's rows are compared, and what to say where every row is read though the warehouse was to compare.

        Raises `WarehouseError`.
        """
        sync = staged.sync
        if self.diffs is None or sync.name not in self.syncs:
            return None, ()
        compared = compared_by(self.diffs, staged)
        why = self._reason_here(sync, staged.layout) or self.diffs.reason_against(compared.rows)
        if why is not None:
            return None, [_read_all(why)]
        known = self._marks.get(sync.name)
        if known is None or recheck or self.refreshing.reads_back(sync, resource):
            return compared, ()  # every row is new, or is to be looked at
        if self.diffs.mark(known.state_id, sync.name) != known:
            return compared, [_read_all("the warehouse's copy of their hashes is behind, and the next run rewrites it")]
        return replace(compared, mark=known), ()

    def _reason_here(self, sync: Sync, layout: Layout) -> str | None:
        if sync.name in self.referrers.parents:
            return "its objects are finished once every row that belongs to them is written"
        return reason_to_read_all(sync, layout)


def compared_by(diffs: RowDiffs, staged: Staged) -> Compared:
    """A sync whose rows the warehouse hashes, and of which every row is read."""
    return Compared(diffs=diffs, rows=build_hashed_rows(staged.sync, staged.layout, _salt(staged)))


def _read_all(why: str) -> Note:
    return Note(text=f"every row is read: {why}")


def _salt(staged: Staged) -> str:
    """What sets hashes apart: another mapping, other columns, and where values are not stored the state's secret.

    Of the secret a hash alone goes into the query, which the warehouse may log.
    """
    columns = [(*part.columns,) for part in staged.layout.parts]
    parts = (staged.sync.name, staged.sync.fingerprint, columns, staged.salt)
    return sha256(repr(parts).encode()).hexdigest()[:32]
