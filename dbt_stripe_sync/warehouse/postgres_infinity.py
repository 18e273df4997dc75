"""Restores PostgreSQL's `infinity` and `-infinity`, which ADBC turns into wrong dates, as DuckDB's infinities.

PostgreSQL counts from the year 2000 and uses the ends of the integer range for the infinities. ADBC shifts every value
to 1970 and shifts these as well, so that one of them overflows. Both results are earlier than any date that PostgreSQL
supports, so they are unambiguous. (Timestamps from the year 294247 on overflow as well, and count as infinite.)
"""

from __future__ import annotations

import pyarrow as pa
from msgspec import Struct

DAYS_TO_2000 = 10_957
MICROSECONDS_A_DAY = 86_400_000_000


class _Ends(Struct, frozen=True, kw_only=True):
    """The values that a type's infinities have after ADBC, and DuckDB's values, which are the ends of its range."""

    integer: pa.DataType
    bits: int
    to_2000: int

    @property
    def arrived_negative(self) -> int:
        return self.to_2000 - (1 << (self.bits - 1))

    @property
    def infinity(self) -> int:
        return (1 << (self.bits - 1)) - 1


TIMESTAMP = _Ends(integer=pa.int64(), bits=64, to_2000=DAYS_TO_2000 * MICROSECONDS_A_DAY)
DATE = _Ends(integer=pa.int32(), bits=32, to_2000=DAYS_TO_2000)


def with_infinities(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with infinities restored; unchanged if it has none."""
    arrays = [_restored(array) for array in batch.columns]
    if all(new is old for new, old in zip(arrays, batch.columns, strict=True)):
        return batch
    return pa.record_batch(arrays, schema=batch.schema)


def _restored(array: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(array.type):
        ends = TIMESTAMP
    elif pa.types.is_date32(array.type):
        ends = DATE
    else:
        return array
    if not _may_be_infinite(array, ends.bits // 8):
        return array
    import pyarrow.compute as pc  # takes 0.1 seconds, so only imported for tables with infinities

    numbers = array.view(ends.integer)
    least = pc.min(numbers).as_py()
    if least is None or least > ends.arrived_negative:
        return array
    negative = pa.scalar(ends.arrived_negative, ends.integer)
    is_negative, is_positive = pc.equal(numbers, negative), pc.less(numbers, negative)  # less, because it overflowed
    numbers = pc.if_else(is_negative, pa.scalar(-ends.infinity, ends.integer), numbers)
    return pc.if_else(is_positive, pa.scalar(ends.infinity, ends.integer), numbers).view(array.type)


def _may_be_infinite(array: pa.Array, width: int) -> bool:
    """Whether any value is near the minimum of its range, judged by its highest byte. Nulls may be false positives."""
    data = array.buffers()[1]
    if data is None:
        return False
    values = memoryview(data)[array.offset * width : (array.offset + len(array)) * width]
    return b"\x80" in bytes(values[width - 1 :: width])
