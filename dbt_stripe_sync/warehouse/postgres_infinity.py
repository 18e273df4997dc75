"""PostgreSQL's `infinity` and `-infinity`, which ADBC turns into dates of the Stone Age, as DuckDB's own.

PostgreSQL counts from the year 2000 and keeps the ends of the integer range for the infinities; ADBC moves every value
to 1970, and so moves those too, one of them past the end. The result is earlier than any date of PostgreSQL's, so it is
unambiguous. (Its timestamps from 294247 on pass the end as well, and count as infinite.)
"""

from __future__ import annotations

import pyarrow as pa
from msgspec import Struct

DAYS_TO_2000 = 10_957
MICROSECONDS_A_DAY = 86_400_000_000


class _Ends(Struct, frozen=True, kw_only=True):
    """Where a type's infinities arrive, and where DuckDB has its own: at the ends of a symmetric range."""

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
    """The batch with its infinities restored; unchanged if it has none."""
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
    import pyarrow.compute as pc  # a tenth of a second, which a table without infinities does not need

    numbers = array.view(ends.integer)
    least = pc.min(numbers).as_py()
    if least is None or least > ends.arrived_negative:
        return array
    negative = pa.scalar(ends.arrived_negative, ends.integer)
    is_negative, is_positive = pc.equal(numbers, negative), pc.less(numbers, negative)  # less: it went round the end
    numbers = pc.if_else(is_negative, pa.scalar(-ends.infinity, ends.integer), numbers)
    return pc.if_else(is_positive, pa.scalar(ends.infinity, ends.integer), numbers).view(array.type)


def _may_be_infinite(array: pa.Array, width: int) -> bool:
    """Whether any value is near the lowest of its range, which its highest byte tells; what is null may look so."""
    data = array.buffers()[1]
    if data is None:
        return False
    values = memoryview(data)[array.offset * width : (array.offset + len(array)) * width]
    return b"\x80" in bytes(values[width - 1 :: width])
