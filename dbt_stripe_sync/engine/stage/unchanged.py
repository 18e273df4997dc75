"""Detects by one digest that no row of a model has changed, so that no row and no hash is read.

The warehouse computes the digest with the hashes of its rows; the records have the same hashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.engine.stage.staged import RowCounts
from dbt_stripe_sync.model.hashes import DIGEST, ROW_COUNT

if TYPE_CHECKING:
    import pyarrow as pa

    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace

# The hash of a record is unsigned, and that of a warehouse is signed.
_BITS = 2**64 - 1


def count_unchanged(workspace: Workspace, staged: Staged, digest: pa.Table) -> RowCounts | None:
    """The row counts of a model whose `digest` is that of the records; None if any row may differ from its record."""
    rows, hashed, combined, any_missing = workspace.one(
        "SELECT count(*), count(source_hash), bit_xor(source_hash), bool_or(missing) FROM known_records "
        "WHERE sync = $sync AND NOT coalesce(removed, false)",
        {"sync": staged.sync.name},
    )
    (found,) = digest.to_pylist()
    if any_missing or hashed != rows or int(found[ROW_COUNT]) != rows or int(found[DIGEST]) & _BITS != (combined or 0):
        return None
    return RowCounts(rows=int(rows), without_key=0)


def store_no_gone_keys(workspace: Workspace, staged: Staged) -> None:
    """Create the table `staged.gone`, with no key."""
    workspace.execute(f"CREATE OR REPLACE TABLE {staged.gone}(key VARCHAR)")
