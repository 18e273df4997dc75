"""The sandbox's data of one account and mode, in memory. Indexes are built when a filter first needs them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Body: TypeAlias = "dict[str, Any]"


class Record(Struct):
    """One object. `hidden` is data that the API doesn't show; `gone` marks a deleted one that can still be retrieved.

    From `visible_at` on (Unix seconds), search sees `body`. Until then, it sees the newest of `earlier` that is due.
    """

    kind: str
    id: str
    serial: int
    body: Body
    hidden: Body = field(default_factory=dict)
    gone: bool = False
    visible_at: float = 0.0
    earlier: tuple[tuple[float, Body], ...] = ()


def copy_json(value: Any) -> Any:
    """Return a deep copy of plain JSON."""
    return orjson.loads(orjson.dumps(value))


def value_at(body: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path, or the id if that is an expanded or nested object."""
    return value_of(body, tuple(path.split(".")))


class Table:
    """All objects of one kind, in order of creation."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.records: dict[str, Record] = {}
        self._serials: list[int] = []
        self._by_serial: dict[int, Record] = {}
        self._indexes: dict[str | TextPath, dict[Any, dict[str, None]]] = {}
        # Objects whose last change search may not show yet, in the order in which it becomes visible.
        self._fresh: OrderedDict[str, float] = OrderedDict()

    def put(self, record: Record) -> None:
        """Add or replace one object."""
        before = self.records.get(record.id)
        if before is None or before.serial != record.serial:
            if before is not None:
                self._drop_serial(before)
            self._serials.append(record.serial)
        self.records[record.id] = record
        self._by_serial[record.serial] = record
        self._fresh.pop(record.id, None)
        self._fresh[record.id] = record.visible_at
        for path, index in self._indexes.items():
            self._reindex(index, path, before, record)

    def remove(self, id: str) -> None:  # noqa: A002 - Stripe's own word
        """Delete one object."""
        record = self.records.pop(id, None)
        if record is None:
            return
        self._drop_serial(record)
        for path, index in self._indexes.items():
            self._reindex(index, path, record, None)

    def newest_first(self, where: Mapping[str, Any] | None = None) -> Iterator[Record]:
        """Iterate over the live objects that have the values of `where` at its dotted paths, newest first."""
        if where:
            path, value = next(iter(where.items()))
            rest = list(where.items())[1:]
            ids = self._index(path).get(_hashable(value), {})
            found = sorted((self.records[i] for i in ids), key=lambda r: r.serial, reverse=True)
            for record in found:
                if not record.gone and all(value_at(record.body, p) == v for p, v in rest):
                    yield record
            return
        for serial in reversed(self._serials):
            record = self._by_serial[serial]
            if not record.gone:
                yield record

    def older_than(self, serial: int) -> Iterator[Record]:
        """Iterate over the live objects created before `serial`, newest first."""
        for position in range(bisect_left(self._serials, serial) - 1, -1, -1):
            record = self._by_serial[self._serials[position]]
            if not record.gone:
                yield record

    def newer_than(self, serial: int) -> Iterator[Record]:
        """Iterate over the live objects created after `serial`, oldest first."""
        for position in range(bisect_right(self._serials, serial), len(self._serials)):
            record = self._by_serial[self._serials[position]]
            if not record.gone:
                yield record

    def candidates(self, path: tuple[str, ...], value: str, now: float) -> list[Record]:
        """Return a superset of the objects that have `value` at `path` in what search sees at `now`."""
        fresh = self._fresh
        while fresh and next(iter(fresh.values())) <= now:
            fresh.popitem(last=False)
        ids = {**self._index(TextPath(path)).get(value, {}), **dict.fromkeys(fresh)}
        return [self.records[i] for i in ids if i in self.records]

    def _index(self, path: str | TextPath) -> dict[Any, dict[str, None]]:
        index = self._indexes.get(path)
        if index is None:
            index = self._indexes[path] = {}
            for record in self.records.values():
                self._reindex(index, path, None, record)
        return index

    @staticmethod
    def _reindex(
        index: dict[Any, dict[str, None]], path: str | TextPath, before: Record | None, after: Record | None
    ) -> None:
        old = None if before is None else _index_value(before.body, path)
        new = None if after is None else _index_value(after.body, path)
        if before is not None and (after is None or old != new):
            index.get(old, {}).pop(before.id, None)
        if after is not None:
            index.setdefault(new, {})[after.id] = None

    def _drop_serial(self, record: Record) -> None:
        position = bisect_left(self._serials, record.serial)
        del self._serials[position]
        del self._by_serial[record.serial]


class TextPath(Struct, frozen=True):
    """The path of a value that an index holds as case-folded text, the way search compares it."""

    steps: tuple[str, ...]


def as_text(value: Any) -> str:
    """Return a value as text, the way search compares it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).casefold()


def value_of(body: Mapping[str, Any], steps: tuple[str, ...]) -> Any:
    """Return the value at the end of the steps, or the id if that is an expanded or nested object."""
    node: Any = body
    for step in steps:
        if not isinstance(node, dict):
            return None
        node = node.get(step)
    return node["id"] if isinstance(node, dict) and "id" in node else node


def _index_value(body: Body, path: str | TextPath) -> Any:
    if isinstance(path, TextPath):
        return as_text(value_of(body, path.steps))
    return _hashable(value_at(body, path))


def _hashable(value: Any) -> Any:
    return value if not isinstance(value, (dict, list)) else orjson.dumps(value)


class Store:
    """The tables of one account and mode."""

    def __init__(self, account: str, *, livemode: bool) -> None:
        self.account = account
        self.livemode = livemode
        self.tables: dict[str, Table] = {}
        self.last_serial = 0

    def table(self, kind: str) -> Table:
        """Return the table of one kind, which is created on first use."""
        table = self.tables.get(kind)
        if table is None:
            table = self.tables[kind] = Table(kind)
        return table

    def next_serial(self) -> int:
        """Return the next serial. It grows with every object of the account and mode."""
        self.last_serial += 1
        return self.last_serial

    def load(self, record: Record) -> None:
        """Restore an object from a data file."""
        self.last_serial = max(self.last_serial, record.serial)
        self.table(record.kind).put(record)
