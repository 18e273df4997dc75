"""The types of `diff: warehouse`, shared by the engine, the state and the warehouse: which rows are hashed and known.

The state has a hash of each row as last accepted; a table in the warehouse is a copy of these hashes. A mark with the
copy identifies its contents. Comparing two marks detects an outdated copy, or one of another state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from dbt_stripe_sync.model.nodes import RowSource

# The columns that the warehouse adds to a model's own.
ROW_KIND = "stripe_sync_kind"
ROW_KEY = "stripe_sync_key"
ROW_HASH = "stripe_sync_hash"
# The columns of a digest of all rows: their number, and the XOR of their hashes.
ROW_COUNT = "stripe_sync_rows"
DIGEST = "stripe_sync_digest"
# Codes of problems of a copy that was dropped, changed by hand, or may not be read. Such a copy counts as missing.
UNREADABLE = frozenset({"read-failed", "relation-missing", "warehouse-denied"})
# The values of `ROW_KIND`: a row that the copy lacks, one with another hash, a key that no row has any longer, and a
# key that several rows have. And once, a row whose key contains the numbers of the model's rows, of rows without a key,
# and of the copy's keys.
NEW, CHANGED, GONE, TWICE, COUNTS = "new", "changed", "gone", "twice", "counts"


class HashedChild(Struct, frozen=True, kw_only=True):
    """A child model whose rows are part of their parents' hashes; `on` and `parent_on` are the columns to join by."""

    source: RowSource
    on: tuple[str, ...]
    parent_on: tuple[str, ...]


class HashedRows(Struct, frozen=True, kw_only=True):
    """A sync's rows and what their hashes include. `salt` makes the hashes of different mappings differ."""

    sync: str
    source: RowSource
    key: tuple[str, ...]
    salt: str
    children: tuple[HashedChild, ...] = ()


class HashMark(Struct, frozen=True, kw_only=True):
    """Identifies a sync's hashes in a state or in a copy: by their number, and a digest of keys and hashes."""

    state_id: str
    rows: int
    digest: str
