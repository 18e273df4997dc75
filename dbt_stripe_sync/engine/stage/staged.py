"""A sync's rows as they lie in the workspace: in which tables, and how they are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from dbt_stripe_sync.engine.payload.layout import ChildPart, Layout
    from dbt_stripe_sync.engine.ports import RowDiffs
    from dbt_stripe_sync.model.hashes import HashedRows, HashMark
    from dbt_stripe_sync.model.sync import Sync


class RowCounts(Struct, frozen=True, kw_only=True):
    """How many rows a model has, and how many of them have no key."""

    rows: int
    without_key: int


class Compared(Struct, frozen=True, kw_only=True):
    """How the warehouse hashes a sync's rows.

    With a `mark`, which is what the state has, it compares them with its copy of the state's hashes. With
    `hashes_first`, unchanged rows are only read as hashes. With neither, every row is read.
    """

    diffs: RowDiffs
    rows: HashedRows
    mark: HashMark | None = None
    hashes_first: bool = False


class Staged(Struct, frozen=True, kw_only=True):
    """A sync's rows in the workspace. `number` distinguishes its tables from those of other syncs.

    `salt` is the secret for the rows' hashes if their values aren't stored. `compared` says how the warehouse hashes
    and compares the rows; None if both are done locally. `counts` are those of a model of which only differing rows
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
        """The table of the rows as read."""
        return f"work.raw_{self.number}"

    @property
    def table(self) -> str:
        """The table of the rows as compared."""
        return f"work.stage_{self.number}" if self.layout.is_linked else self.raw

    @property
    def duplicates(self) -> str:
        """The table of the keys that several rows claim."""
        return f"work.duplicates_{self.number}"

    @property
    def changed(self) -> str:
        """The table of the keys that are not as last written."""
        return f"work.changed_{self.number}"

    @property
    def left_out(self) -> str:
        """The table of those among them that this plan does not look at."""
        return f"work.left_out_{self.number}"

    @property
    def answer(self) -> str:
        """The table of what the warehouse has found to differ, as read."""
        return f"work.answer_{self.number}"

    @property
    def gone(self) -> str:
        """The table of the keys that the warehouse has found to be gone."""
        return f"work.gone_{self.number}"

    def child_table(self, child: ChildPart) -> str:
        """The table of a child model's rows as read."""
        return f"work.{child.name.strip('$')}_{self.number}"
