"""Converts the rows of a DB-API cursor to Arrow, for warehouses without an Arrow driver.

A cursor returns Python objects without a schema, and a column's first thousand values may be null or of another type
than the rest. So all rows are buffered first, in memory and then in an unlinked temporary file, and a column's type is
decided from all of its values. Nothing is rounded: values without a common exact type become text.
"""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from tempfile import SpooledTemporaryFile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import pyarrow as pa
from msgspec import Struct, field

from dbt_stripe_sync.warehouse.canonical import duration_text, number_field, zoned_time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

BATCH_ROWS = 10_000
SPOOL_BYTES = 32 * 1024 * 1024
# Times with a zone must be converted to UTC, so orjson must not format them itself.
JSON_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
INT64 = 2**63
EXACT_FLOAT_INTEGER = 2**53


class Cursor(Protocol):
    """The part of a DB-API cursor (peps.python.org/pep-0249) that is needed after its query has run."""

    def fetchmany(self, size: int, /) -> Sequence[Sequence[Any]]:
        """The next rows; empty at the end."""
        ...


def fetched(cursor: Cursor) -> Iterator[Sequence[Sequence[Any]]]:
    """The rows of a query that has run, in batches of some thousand."""
    while rows := cursor.fetchmany(BATCH_ROWS):
        yield rows


def build_reader(
    names: Sequence[str],
    batches: Iterable[Sequence[Sequence[Any]]],
    converts: Mapping[str, Callable[[Any], Any] | None] = MappingProxyType({}),
) -> pa.RecordBatchReader:
    """A reader that converts `batches` to Arrow lazily. The call itself consumes all of them.

    `converts` has functions for some columns; each is applied to the values that aren't null, before anything else.
    """
    prepared = [_prepared(converts.get(name)) for name in names]
    columns = [_ColumnValues() for _ in names]
    spool = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - closed when the reader is done
    try:
        for rows in batches:
            pairs = zip(prepared, zip(*rows, strict=True), strict=True)
            parts = [[prepare(value) for value in part] for prepare, part in pairs]
            for seen, part in zip(columns, parts, strict=True):
                seen.add(part)
            pickle.dump(parts, spool)
    except BaseException:
        spool.close()
        raise
    schema = pa.schema([seen.arrow_field(name) for name, seen in zip(names, columns, strict=True)])
    types = schema.types

    def read() -> Iterator[pa.RecordBatch]:
        with spool:
            end = spool.tell()
            spool.seek(0)
            while spool.tell() < end:
                parts = pickle.load(spool)  # noqa: S301 - written above, to a file that no other process can open
                arrays = [_array(part, kind) for part, kind in zip(parts, types, strict=True)]
                yield pa.record_batch(arrays, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, read())


class _ColumnValues(Struct):
    """The kinds of values that a column has in all of its rows."""

    kinds: set[str] = field(default_factory=set)
    widest_integer: int = 0

    def add(self, values: Iterable[Any]) -> None:
        for value in values:
            if value is None:
                continue
            kind = _kind(value)
            self.kinds.add(kind)
            if kind == "int":
                self.widest_integer = max(self.widest_integer, abs(value))

    def arrow_field(self, name: str) -> pa.Field:
        """The type that represents every value exactly, or text if there is none.

        Numbers with decimals are always text, marked as numbers. A decimal type would have the largest scale of all
        values, so one row's value would depend on the others.
        """
        if self.kinds == {"int"} and self.widest_integer < INT64:
            return pa.field(name, pa.int64())
        if self.kinds and self.kinds <= {"int", "decimal"}:
            return number_field(name)
        if self.kinds == {"int", "float"} and self.widest_integer <= EXACT_FLOAT_INTEGER:
            return pa.field(name, pa.float64())
        if len(self.kinds) == 1:
            return pa.field(name, SINGLE_TYPES[next(iter(self.kinds))])
        return pa.field(name, pa.string())


SINGLE_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "float": pa.float64(),
    "text": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "naive datetime": pa.timestamp("us"),
    "aware datetime": pa.timestamp("us", tz="UTC"),
    "json": pa.json_(),
}


def _prepared(convert: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    if convert is None:
        return _plain
    return lambda value: None if value is None else _plain(convert(value))


def _plain(value: Any) -> Any:
    """A driver's value as one of the few types that this module distinguishes."""
    if value is None or isinstance(value, str | bool | int | float | Decimal | bytes | datetime | date):
        return value
    if isinstance(value, time):
        return value if value.tzinfo is None else zoned_time_text(value.isoformat())
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, tuple):
        value = _json_value(value)
    if isinstance(value, dict | list | set):
        return JsonText(orjson.dumps(value, default=_json_value, option=JSON_OPTIONS).decode())
    return str(value)


class JsonText(str):
    """A nested value as JSON text, as a type of its own to distinguish it from plain text."""

    __slots__ = ()


def _json_value(value: Any) -> Any:
    if isinstance(value, tuple) and (names := _names_of(value)):
        return dict(zip(names, value, strict=True))
    if isinstance(value, set | tuple):
        return list(value)
    # Numbers are written as text, because JSON readers convert numbers to floats.
    return value.hex() if isinstance(value, bytes | bytearray) else _text(value)


def _names_of(value: tuple[Any, ...]) -> list[str] | None:
    """The names of a tuple's parts, if it has any: `_fields` of a namedtuple, or `_names` of Trino's driver."""
    names = getattr(value, "_fields", None) or getattr(value, "_names", None)
    if names is None or not all(isinstance(name, str) for name in names):
        return None
    return list(names) if len(set(names)) == len(value) else None  # with dbt-trino, two parts can have the same name


def _kind(value: Any) -> str:  # noqa: PLR0911 - one return for each type
    if isinstance(value, JsonText):
        return "json"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, Decimal):
        return "decimal"
    if isinstance(value, datetime):
        return "naive datetime" if value.tzinfo is None else "aware datetime"
    if isinstance(value, date):
        return "date"
    return "time" if isinstance(value, time) else "binary"


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.json_():
        return pa.ExtensionArray.from_storage(kind, pa.array(values, pa.string()))
    if pa.types.is_string(kind):
        return pa.array([None if value is None else _text(value) for value in values], kind)
    if kind == pa.timestamp("us", tz="UTC"):
        return pa.array([value and value.astimezone(UTC) for value in values], kind)
    return pa.array(values, kind)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return duration_text(value)
    return value.hex() if isinstance(value, bytes) else str(value)
