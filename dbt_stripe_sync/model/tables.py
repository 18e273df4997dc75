"""Converts between Python values and Arrow tables, to exchange many values at a time with DuckDB.

`pyarrow.array` imports pandas if it is installed, which takes half a second of CPU time and 50 MB for nothing that is
used here. So columns are built from their buffers (arrow.apache.org/docs/format/Columnar.html). Converting times with a
zone to Python imports pandas, too, so they are read as times without one.
"""

from __future__ import annotations

from array import array
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow.lib import StringBuilder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# The type codes of Python's `array` for the stored numbers.
_CODES = {pa.int32(): "i", pa.int64(): "q", pa.uint64(): "Q"}


def build_table(schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> pa.Table:
    """Build a table of rows in the order of a schema's columns: texts, integers, booleans, UTC times in microseconds.

    Raises `TypeError`, `ValueError` or `OverflowError` for a value that its column can't hold.
    """
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [_build_array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def read_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Return the rows of a batch whose times with a zone are in UTC. Raises like `read_column`."""
    names = batch.schema.names
    return [dict(zip(names, row, strict=True)) for row in zip(*map(read_column, batch.columns), strict=True)]


def read_column(column: pa.Array) -> list[Any]:
    """Return the values of a column whose times with a zone are in UTC.

    Raises `ValueError` or `OverflowError` for a value that Python can't hold.
    """
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        values: list[Any] = column.to_pylist()
        return values
    naive = column.view(pa.timestamp(column.type.unit)).to_pylist()
    return [None if value is None else value.replace(tzinfo=UTC) for value in naive]


def _build_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        builder = StringBuilder()
        builder.append_values(values)
        return builder.finish()
    nulls = values.count(None)
    validity = _bits([value is not None for value in values]) if nulls else None
    return pa.Array.from_buffers(kind, len(values), [validity, _data(values, kind)], nulls)


def _data(values: Sequence[Any], kind: pa.DataType) -> pa.Buffer:
    if pa.types.is_boolean(kind):
        return _bits([bool(value) for value in values])
    if pa.types.is_timestamp(kind):
        numbers = (0 if value is None else (value - _EPOCH) // _MICROSECOND for value in values)
        return pa.py_buffer(array("q", numbers))
    return pa.py_buffer(array(_CODES[kind], (0 if value is None else value for value in values)))


def _bits(values: Sequence[bool]) -> pa.Buffer:
    """Return one bit for each value, lowest first."""
    number = int("".join("1" if value else "0" for value in reversed(values)) or "0", 2)
    return pa.py_buffer(number.to_bytes((len(values) + 7) // 8, "little"))
