"""Reads ClickHouse through the client inside dbt-clickhouse's adapter, which is not DB-API.

The HTTP client (the default `driver`) streams Arrow; the native client returns Python rows.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dbt_stripe_sync.warehouse.adapter_failures import read_failure
from dbt_stripe_sync.warehouse.canonical import marked
from dbt_stripe_sync.warehouse.dbapi_rows import build_reader
from dbt_stripe_sync.warehouse.select import SourceColumn, backquoted, from_clause, match_columns, select_of
from dbt_stripe_sync.warehouse.streams import guarded_reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dbt_stripe_sync.model.nodes import RowSource

WRAPPED = re.compile(r"^(?:Nullable|LowCardinality)\((.*)\)$")
DECIMAL = re.compile(r"^Decimal\((\d+),")
ARROW_DIGITS = 38
# Types that Arrow would get as a bare integer (DateTime, IPv4, Enum), as raw bytes, or not at all, by the beginning of
# their name. A DateTime is an instant, whatever zone it is shown in.
FORMS = {
    "DateTime": "toDateTime64({}, 6, 'UTC')",
    "Date": "toDate32({})",
    "Time": "toString({})",
    "UUID": "toString({})",
    "IPv": "toString({})",
    "Enum": "toString({})",
    "FixedString": "toStringCutToZero({})",
    "Interval": "toString({})",
    "BFloat16": "toFloat32({})",
    "JSON": "toString({})",
    "Object": "toJSONString({})",
    "Variant": "toString({})",
    "Dynamic": "toString({})",
}
WIDE_INTEGERS = frozenset({"Int128", "Int256", "UInt128", "UInt256"})
SETTINGS = {"output_format_arrow_compression_method": "none"}


class ClickHouseWarehouse:
    """One connection of dbt-clickhouse's adapter."""

    def __init__(self, adapter: Any, connection_name: str) -> None:
        self._adapter = adapter
        self._held = contextlib.ExitStack()
        self._held.enter_context(adapter.connection_named(connection_name))
        self._client = adapter.connections.get_thread_connection().handle

    def columns(self, source: RowSource) -> Mapping[str, str]:
        """Every column with ClickHouse's name for its type. Raises `WarehouseError`."""
        return {column.name: column.type for column in self._described(source)}

    def rows(self, source: RowSource) -> pa.RecordBatchReader:
        """The columns that `source` names, streamed if the client supports that. Raises `WarehouseError`."""
        found = match_columns(source, self._described(source))
        select = select_of(source, found, backquoted)
        inner: Any = getattr(self._client, "_client", None)
        try:
            if not hasattr(inner, "query_arrow_stream"):
                return build_reader(source.columns, filter(None, [self._client.query(select).result_set]))
            held = contextlib.ExitStack()
            batches = _batches(
                held.enter_context(inner.query_arrow_stream(select, settings=SETTINGS, use_strings=True))
            )
            first = next(batches, None)
            if first is None:
                first = inner.query_arrow(f"{select} LIMIT 0", settings=SETTINGS, use_strings=True)
        except Exception as error:  # noqa: BLE001 - the two clients have different errors
            raise read_failure(source, error) from None
        return guarded_reader(
            marked(first.schema, found),
            _rejoined(first, batches),
            failure=lambda error: read_failure(source, error),
            close=held.close,
        )

    def close(self) -> None:
        """Release the adapter's connection, and close it."""
        self._held.close()
        self._adapter.cleanup_connections()

    def _described(self, source: RowSource) -> list[SourceColumn]:
        try:
            columns = self._client.columns_in_query(f"SELECT * FROM {from_clause(source)}")
        except Exception as error:  # noqa: BLE001 - as above
            raise read_failure(source, error) from None
        return [describe(str(column.name), str(column.dtype)) for column in columns]


def describe(name: str, kind: str) -> SourceColumn:
    """How a column of this type is read."""
    bare = kind
    while found := WRAPPED.match(bare):
        bare = found[1]
    quoted = backquoted(name)
    decimal = DECIMAL.match(bare)
    if bare in WIDE_INTEGERS or (decimal and int(decimal[1]) > ARROW_DIGITS):
        return SourceColumn(name=name, type=kind, sql=f"toString({quoted})", is_number=True)
    form = next((form for start, form in FORMS.items() if bare.startswith(start)), "{}")
    return SourceColumn(name=name, type=kind, sql=form.format(quoted))


def _batches(stream: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    for part in stream:
        yield from part.to_batches() if isinstance(part, pa.Table) else (part,)


def _rejoined(first: Any, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from first.to_batches() if isinstance(first, pa.Table) else (first,)
    yield from rest
