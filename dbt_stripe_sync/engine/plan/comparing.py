"""Decides which syncs' rows the warehouse compares or hashes, and when every row is read instead."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.stage.differing import build_hashed_rows, reason_to_read_all
from dbt_stripe_sync.engine.stage.hashes_first import has_many_records
from dbt_stripe_sync.engine.stage.staged import Compared
from dbt_stripe_sync.model.plan import Note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.payload.layout import Layout
    from dbt_stripe_sync.engine.plan.finalization import Referrers
    from dbt_stripe_sync.engine.plan.refreshing import Refreshing
    from dbt_stripe_sync.engine.ports import RowDiffs, State
    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.hashes import HashMark
    from dbt_stripe_sync.model.params import Resource
    from dbt_stripe_sync.model.plan import SyncCounts
    from dbt_stripe_sync.model.sync import Sync


# A run with `--select` reads only some syncs.
LAST_RUNS = 20


class Comparing(Struct, kw_only=True, dict=True):
    """How rows are compared: by the warehouse for the syncs in `syncs`, on this machine for all others."""

    diffs: RowDiffs | None
    workspace: Workspace
    state: State
    syncs: frozenset[str]
    refreshing: Refreshing
    referrers: Referrers

    @cached_property
    def _marks(self) -> Mapping[str, HashMark]:
        return self.state.hash_marks()

    @cached_property
    def _unchanged(self) -> frozenset[str]:
        """The syncs in which the last run that read them found nothing to change."""
        last: dict[str, SyncCounts] = {}
        for run in self.state.runs(LAST_RUNS):
            for counts in run.counts:
                last.setdefault(counts.sync, counts)
        return frozenset(
            name
            for name, counts in last.items()
            if counts.held is None and counts.same == counts.rows and not counts.by_action
        )

    def of(self, staged: Staged, resource: Resource, *, recheck: bool) -> tuple[Compared | None, Sequence[Note]]:
        """How a sync's rows are compared, and a note if every row is read although the warehouse should compare.

        Raises `WarehouseError`.
        """
        sync = staged.sync
        if self.diffs is None:
            return None, ()
        if sync.name not in self.syncs:
            return self._hashed_there(self.diffs, staged, resource, recheck=recheck), ()
        compared = compared_by(self.diffs, staged)
        why = self._reason_here(sync, staged.layout) or self.diffs.reason_against(compared.rows)
        if why is not None:
            return None, [_read_all(why)]
        known = self._marks.get(sync.name)
        if known is None or recheck or self.refreshing.reads_back(sync, resource):
            return compared, ()  # every row is new, or has to be compared
        if self.diffs.mark(known.state_id, sync.name) != known:
            return compared, [
                _read_all("the warehouse's copy of their hashes is outdated, and the next run rewrites it")
            ]
        return replace(compared, mark=known, digest_first=self._likely_unchanged(self.diffs, sync)), ()

    def _hashed_there(self, diffs: RowDiffs, staged: Staged, resource: Resource, *, recheck: bool) -> Compared | None:
        """How to read rows that are compared on this machine if the warehouse can hash them, so that most aren't read.

        If there are few rows, all of them are read at once, with the same hash, because the sync may grow.
        """
        sync = staged.sync
        # A view would run its query twice. For a state without values, the hash contains a secret that no query log may
        # have.
        if not diffs.hashes_first or staged.salt is not None or not sync.stores_rows:
            return None
        compared = compared_by(diffs, staged)
        if diffs.reason_against(compared.rows) is not None:
            return None
        is_seen = recheck or self.refreshing.reads_back(sync, resource) or self._reason_here(sync, staged.layout)
        if is_seen or not has_many_records(self.workspace, sync):
            return compared
        return replace(compared, hashes_first=True, digest_first=self._likely_unchanged(diffs, sync))

    def _likely_unchanged(self, diffs: RowDiffs, sync: Sync) -> bool:
        """Whether to begin with a digest of all rows. It costs half of their hashes, and only tells if none differs."""
        return diffs.has_digest and sync.name in self._unchanged

    def _reason_here(self, sync: Sync, layout: Layout) -> str | None:
        if sync.name in self.referrers.parents:
            return "its objects are finalized once every row that belongs to them is written"
        return reason_to_read_all(sync, layout)


def compared_by(diffs: RowDiffs, staged: Staged) -> Compared:
    """A sync whose rows the warehouse hashes, with every row read."""
    return Compared(diffs=diffs, rows=build_hashed_rows(staged.sync, staged.layout, _salt(staged)))


def _read_all(why: str) -> Note:
    return Note(text=f"every row is read: {why}")


def _salt(staged: Staged) -> str:
    """What hashes depend on besides the row: the mapping, the columns, and the state's secret if values aren't stored.

    Only a hash of the secret is in the query, because the warehouse may log the query.
    """
    columns = [(*part.columns,) for part in staged.layout.parts]
    parts = (staged.sync.name, staged.sync.fingerprint, columns, staged.salt)
    return sha256(repr(parts).encode()).hexdigest()[:32]
