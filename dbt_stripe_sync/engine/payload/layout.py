"""Determines what a sync reads from its models: the columns, and the references to resolve with them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from dbt_stripe_sync.model.sync import ChildRows, Column, Lookup, SyncRef, Template, WhenReplaced, values_in, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.model.sync import Sync, Value

KEY = "$key"
HASH = "$hash"
REFS = "$refs"
PARENT = "$parent"


class Part(Struct):
    """The columns and references of one model: the sync's own model, or a child model.

    `numbers` are columns with exact numbers that are staged as text, which is known only once they are read.
    """

    columns: dict[str, None] = field(default_factory=dict)
    references: dict[SyncRef | Lookup, str] = field(default_factory=dict)
    numbers: set[str] = field(default_factory=set)

    def cell(self, row: Mapping[str, Any], column: str) -> Any:
        """The value of a column in a staged row, with numbers as numbers."""
        value = row[column]
        return Decimal(value) if column in self.numbers and isinstance(value, str) and value else value

    def reference_key(self, reference: SyncRef | Lookup) -> str:
        """The staged column with the value that a reference is looked up by."""
        return self.references[reference].replace("$ref", "$refkey")


class ChildPart(Part, kw_only=True):
    """The part of a child model. `name` is the parent's staged column that contains the list of child rows."""

    child: ChildRows
    name: str


class Layout(Struct):
    """Everything that is staged for a sync."""

    row: Part
    children: list[ChildPart]

    def child(self, value: ChildRows) -> ChildPart:
        """The part of one list of child rows."""
        return next(part for part in self.children if part.child is value)

    @property
    def parts(self) -> Sequence[Part]:
        """The sync's own part and those of its child models."""
        return (self.row, *self.children)

    @property
    def is_linked(self) -> bool:
        """Whether rows have to be joined with other data before they can be compared."""
        return bool(self.row.references or self.children)


def build_layout(sync: Sync) -> Layout:
    """Walk a sync's mapping once and collect what it needs."""
    layout = Layout(row=Part(), children=[])
    _take_columns(layout.row, sync.key)
    for value, _ in values_in(sync.fields):
        _take(value, layout.row, layout.children)
    for match in sync.match:
        for value, _ in values_of(match.value, sync.where):
            _take(value, layout.row, layout.children)
    if sync.part_of is not None:
        _take(own_reference(sync), layout.row, layout.children)
    return layout


def _take(value: Value, part: Part, children: list[ChildPart]) -> None:
    if isinstance(value, Column):
        _take_columns(part, [name for name in (value.name, value.currency_column) if name])
    elif isinstance(value, Template):
        _take_columns(part, value.columns)
    elif isinstance(value, SyncRef | Lookup):
        _take_columns(part, value.columns if isinstance(value, SyncRef) else [value.column])
        part.references.setdefault(value, f"$ref{len(part.references)}")
    elif isinstance(value, ChildRows):
        _take_columns(part, value.parent_on)
        child = ChildPart(child=value, name=f"$child{len(children)}")
        children.append(child)
        _take_columns(child, (*value.on, *value.order_by))
        for nested, _ in values_in(value.fields):
            _take(nested, child, children)


def _take_columns(part: Part, names: Sequence[str]) -> None:
    part.columns.update(dict.fromkeys(names))


def own_reference(sync: Sync) -> SyncRef:
    """The reference from a row of a part to the object that its main sync has for that row."""
    return SyncRef(sync=str(sync.part_of), columns=sync.key)


def keeps(reference: SyncRef | Lookup) -> bool:
    """Whether rows keep referring to an object after a new one has replaced it (`when_replaced: keep`)."""
    return isinstance(reference, SyncRef) and reference.when_replaced is WhenReplaced.KEEP


def kept_column(name: str) -> str:
    """The staged column with the replaced object that a row keeps referring to."""
    return f"{name}$kept"


def newest_column(name: str) -> str:
    """The staged column with the object that has replaced it."""
    return f"{name}$newest"
