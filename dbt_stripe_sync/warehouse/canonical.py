"""Converts rows of every warehouse to one canonical form, in which equal values are equal Arrow values.

Times with a zone are in UTC, in microseconds. Intervals and times of day with a zone are text in one notation. Numbers
that don't fit into an Arrow decimal are text, marked as numbers.
"""

from __future__ import annotations

import re
import struct
from datetime import time, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dbt_stripe_sync.model.nodes import NUMBER_FIELD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dbt_stripe_sync.warehouse.select import SourceColumn

MICROSECONDS_A_DAY = 86_400_000_000
ZONED_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d+))?\s*([+-])(\d\d)(?::?(\d\d)(?::?(\d\d))?)?$")
# BigQuery's `1-2 -3 4:5:6.7` (cloud.google.com/bigquery/docs/reference/standard-sql/data-types#canonical_format_2).
BIGQUERY_INTERVAL = re.compile(r"([+-]?)(\d+)-(\d+) ([+-]?\d+) ([+-]?)(\d+):(\d+):(\d+)(?:\.(\d+))?")
# Spark's `INTERVAL '-3 04:05:06.7' DAY TO SECOND`: one sign for the whole value, and its parts from the first unit on.
SPARK_INTERVAL = re.compile(r"INTERVAL '([+-]?)([\d:. -]+)' (\w+)(?: TO \w+)?", re.IGNORECASE)
# Trino's `1-2` for years and months, and `3 04:05:06.700` for days and a time, with one sign for the whole value.
TRINO_INTERVAL = re.compile(r"(-?)(?:(\d+)-(\d+)|(\d+) (\d+):(\d+):(\d+)\.(\d+))")
# Enough digits to distinguish any two 32-bit floats.
SINGLE_DIGITS = 9
SPARK_UNITS = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND")


def shortest_single(value: float) -> float:
    """The 64-bit float with the fewest digits that rounds to a 32-bit float: 0.1, not 0.10000000149011612."""
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
        return value
    packed = struct.pack("f", value)
    shorter = (float(f"{value:.{digits}g}") for digits in range(1, SINGLE_DIGITS + 1))
    return next((number for number in shorter if _packs_to(number, packed)), value)


def _packs_to(number: float, packed: bytes) -> bool:
    try:
        return struct.pack("f", number) == packed
    except OverflowError:
        return False


def number_field(name: str) -> pa.Field:
    """The field of a text column that holds exact numbers."""
    return pa.field(name, pa.string(), metadata=NUMBER_FIELD)


def canonical_field(field: pa.Field) -> pa.Field:
    """The field of the same column in canonical form."""
    if isinstance(field.type, pa.OpaqueType) and field.type.type_name == "numeric":
        return number_field(field.name)
    kept = NUMBER_FIELD if NUMBER_FIELD.items() <= (field.metadata or {}).items() else None
    return pa.field(field.name, canonical_type(field.type), metadata=kept)


def canonical_type(kind: pa.DataType) -> pa.DataType:  # noqa: PLR0911 - one return for each type
    """The canonical Arrow type for `kind` and all equivalent types."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if pa.types.is_date(kind):
        return pa.date32()
    if pa.types.is_time(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind) or pa.types.is_interval(kind) or pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        return canonical_type(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(canonical_field(kind.value_field))
    if pa.types.is_struct(kind):
        return pa.struct([canonical_field(part) for part in kind])
    if pa.types.is_map(kind):
        return pa.map_(canonical_type(kind.key_type), canonical_type(kind.item_type))
    return kind


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with every field in canonical form."""
    return pa.schema([canonical_field(field) for field in schema])


def canonical_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in `schema`, the result of `canonical_schema` for its own. Canonical columns aren't copied."""
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    return pa.record_batch(
        [_canonical(array, field.type) for array, field in zip(batch.columns, schema, strict=True)], schema=schema
    )


def _canonical(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if isinstance(array.type, pa.OpaqueType):
        return array.storage
    if pa.types.is_timestamp(array.type) and array.type.unit == "us":
        return array.view(kind)  # an instant is the same number in every zone
    if pa.types.is_duration(array.type) or pa.types.is_interval(array.type):
        return pa.array([_interval_text(value) for value in array.to_pylist()], kind)
    if _holds_intervals(array.type):
        return pa.array([_with_interval_texts(value) for value in array.to_pylist()], kind)
    # Truncate nanoseconds, as every engine without them does.
    return array.cast(kind, safe=False)


def _holds_intervals(kind: pa.DataType) -> bool:
    if pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return True
    return any(_holds_intervals(kind.field(index).type) for index in range(kind.num_fields))


def _with_interval_texts(value: Any) -> Any:
    if isinstance(value, pa.MonthDayNano | timedelta):
        return _interval_text(value)
    if isinstance(value, list):
        return [_with_interval_texts(part) for part in value]
    if isinstance(value, tuple):
        return tuple(_with_interval_texts(part) for part in value)
    if isinstance(value, dict):
        return {name: _with_interval_texts(part) for name, part in value.items()}
    return value


def _interval_text(value: pa.MonthDayNano | timedelta | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, timedelta):
        return duration_text(value)
    return interval_text(value.months, value.days, value.nanoseconds // 1000)


def duration_text(value: timedelta) -> str:
    """A duration as an interval's text, with days of 24 hours."""
    microseconds = value // timedelta(microseconds=1)
    days = _quotient(microseconds, MICROSECONDS_A_DAY)
    return interval_text(0, days, microseconds - days * MICROSECONDS_A_DAY)


def interval_text(months: int, days: int, microseconds: int) -> str:
    """An interval in ISO 8601, each part with its own sign, as PostgreSQL's `intervalstyle = iso_8601` writes it."""
    years = _quotient(months, 12)
    seconds = _quotient(microseconds, 1_000_000)
    hours, minutes = _quotient(seconds, 3600), _quotient(seconds, 60) - 60 * _quotient(seconds, 3600)
    rest = microseconds - 1_000_000 * 60 * _quotient(seconds, 60)
    whole, fraction = divmod(abs(rest), 1_000_000)
    second = f"{'-' if rest < 0 else ''}{whole}{f'.{fraction:06}'.rstrip('0') if fraction else ''}"
    date_parts = ((years, "Y"), (months - 12 * years, "M"), (days, "D"))
    of_date = "".join(f"{number}{unit}" for number, unit in date_parts if number)
    of_time = "".join(f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M")) if number)
    of_time += f"{second}S" if rest else ""
    return f"P{of_date}T{of_time}" if of_time else f"P{of_date}" if of_date else "PT0S"


def _quotient(number: int, by: int) -> int:
    """The integer quotient, truncated toward zero."""
    return number // by if number >= 0 else -(-number // by)


def interval_of_text(text: str) -> str:
    """BigQuery's, Spark's or Trino's notation of an interval in ISO 8601. Other texts are returned unchanged."""
    if found := BIGQUERY_INTERVAL.fullmatch(text):
        sign, years, months, days, clock_sign, hours, minutes, seconds, fraction = found.groups()
        return interval_text(
            _signed(sign, int(years) * 12 + int(months)),
            int(days),
            _signed(clock_sign, _microseconds(int(hours), int(minutes), f"{seconds}.{fraction or 0}")),
        )
    if found := SPARK_INTERVAL.fullmatch(text):
        sign, body, unit = found.groups()
        parts = dict(zip(SPARK_UNITS[SPARK_UNITS.index(unit.upper()) :], re.split(r"[-: ]", body), strict=False))
        years, months, days, hours, minutes = (int(parts.get(name, 0)) for name in SPARK_UNITS[:-1])
        microseconds = _microseconds(hours, minutes, parts.get("SECOND", "0"))
        return interval_text(_signed(sign, years * 12 + months), _signed(sign, days), _signed(sign, microseconds))
    if found := TRINO_INTERVAL.fullmatch(text):
        sign, *rest, fraction = found.groups(default="0")
        years, months, days, hours, minutes, seconds = (int(part) for part in rest)
        microseconds = _microseconds(hours, minutes, f"{seconds}.{fraction}")
        return interval_text(_signed(sign, years * 12 + months), _signed(sign, days), _signed(sign, microseconds))
    return text


def _signed(sign: str, number: int) -> int:
    return -number if sign == "-" else number


def _microseconds(hours: int, minutes: int, seconds: str) -> int:
    whole, _, fraction = seconds.partition(".")
    return (hours * 3600 + minutes * 60 + int(whole)) * 1_000_000 + int(fraction.ljust(6, "0")[:6])


def zoned_time_text(text: str) -> str:
    """A time of day with a zone as the same time in UTC. Other texts are returned unchanged."""
    found = ZONED_TIME.match(text.strip())
    if found is None:
        return text
    hours, minutes, seconds, fraction, sign, *zone = found.groups()
    clock = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
    offset = sum(int(part or 0) * weight for part, weight in zip(zone, (3600, 60, 1), strict=True))
    clock = (clock - offset * (-1 if sign == "-" else 1)) % 86_400
    microsecond = int((fraction or "0").ljust(6, "0")[:6])
    return f"{time(clock // 3600, clock // 60 % 60, clock % 60, microsecond).isoformat()}+00:00"


def marked(schema: pa.Schema, found: Mapping[str, SourceColumn]) -> pa.Schema:
    """The schema, with text columns that hold exact numbers marked."""
    return pa.schema([number_field(field.name) if found[field.name].is_number else field for field in schema])


def restored(batch: pa.RecordBatch, forms: Mapping[str, Callable[[str], str]]) -> pa.RecordBatch:
    """The batch with the texts of some columns rewritten. Each distinct text is rewritten once."""
    if not forms:
        return batch
    arrays = [
        _rewritten(array, forms[name]) if name in forms else array
        for name, array in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.record_batch(arrays, schema=batch.schema)


def _rewritten(array: pa.Array, form: Callable[[str], str]) -> pa.Array:
    distinct = array.dictionary_encode()
    texts = pa.array([None if text is None else form(text) for text in distinct.dictionary.to_pylist()], array.type)
    return texts.take(distinct.indices)
