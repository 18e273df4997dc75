"""Describes a sync's rows in the workspace: their tables, and how they are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from dbt_stripe_sync.engine.payload.layout import ChildPart, Layout
    from dbt_stripe_sync.engine.ports import RowDiffs
    from dbt_stripe_sync.model.hashes import HashedRows, HashMark
    from dbt_stripe_sync.model.sync import Sync


class RowCounts(Struct, frozen=True, kw_only=True):
    """The numbers of a model's rows, and of those without a key."""

    rows: int
    without_key: int


class Compared(Struct, frozen=True, kw_only=True):
    """How the warehouse hashes a sync's rows.

    With a `mark` (the state's), it also compares them with its copy of the state's hashes. With `hashes_first`, all
    hashes are read, and then only rows that differ. With neither, every row is read. With `digest_first`, nothing is
    read if one digest of all rows is that of the records.
    """

    diffs: RowDiffs
    rows: HashedRows
    mark: HashMark | None = None
    hashes_first: bool = False
    digest_first: bool = False


class Staged(Struct, frozen=True, kw_only=True):
    """A sync's rows in the workspace. `number` distinguishes its tables from those of other syncs.

    `salt` is the secret for the rows' hashes if their values aren't stored. `compared` says how the warehouse hashes
    and compares the rows; None if both are done locally. `counts` has the model's row counts if only rows that differ
    were read.
    """

    sync: Sync
    layout: Layout
    number: int
    salt: str | None = None
    compared: Compared | None = None
    counts: RowCounts | None = None

    @property
    def raw(self) -> str:
        """The table of rows as they were read."""
        return f"work.raw_{self.number}"

    @property
    def table(self) -> str:
        """The table of rows with their references joined, as they are compared."""
        return f"work.stage_{self.number}" if self.layout.is_linked else self.raw

    @property
    def duplicates(self) -> str:
        """The table of keys that several rows have."""
        return f"work.duplicates_{self.number}"

    @property
    def changed(self) -> str:
        """The table of keys that differ from what was last written."""
        return f"work.changed_{self.number}"

    @property
    def left_out(self) -> str:
        """The table of keys that differ but are not part of this plan."""
        return f"work.left_out_{self.number}"

    @property
    def answer(self) -> str:
        """The table of the warehouse's result, as it was read."""
        return f"work.answer_{self.number}"

    @property
    def gone(self) -> str:
        """The table of keys whose rows are gone, according to the warehouse."""
        return f"work.gone_{self.number}"

    def child_table(self, child: ChildPart) -> str:
        """The table of a child model's rows, as they were read."""
        return f"work.{child.name.strip('$')}_{self.number}"
