"""Special cases of warehouses that are read through a dbt adapter, so that values match those of other readers.

A warehouse without an entry here needs none.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from dbt_stripe_sync.warehouse.canonical import interval_of_text
from dbt_stripe_sync.warehouse.dbapi_rows import JsonText
from dbt_stripe_sync.warehouse.select import SourceColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Reading(Struct, frozen=True, kw_only=True):
    """How columns of one type are read. `sql` is a format for the quoted name; `convert` is applied to each value."""

    sql: str = "{}"
    convert: Callable[[Any], Any] | None = None


class AdapterDialect(Struct, frozen=True, kw_only=True):
    """The special cases of one kind of warehouse.

    `session_sql` runs once the connection is open. The keys of `readings` are patterns for the beginning of a type's
    lower-case name; the first match is used. `open_cursor` opens a cursor from the adapter's handle. `names_types` says
    that the driver's type code is the full type name, and `is_trusted` that this adapter is known to return all rows.
    """

    session_sql: tuple[str, ...] = ()
    readings: Mapping[str, Reading] = field(default_factory=dict)
    open_cursor: Callable[[Any], Any] = lambda handle: handle.cursor()
    names_types: bool = False
    is_trusted: bool = True

    def describe(self, name: str, kind: str, quoted: str) -> tuple[SourceColumn, Callable[[Any], Any] | None]:
        """A column, and the conversion for its values, if there is one."""
        reading = self.reading(kind)
        return SourceColumn(name=name, type=kind, sql=reading.sql.format(quoted)), reading.convert

    def reading(self, kind: str) -> Reading:
        """How columns of a type are read."""
        lowered = kind.lower()
        return next((reading for start, reading in self.readings.items() if re.match(start, lowered)), Reading())


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _time_of_day(text: str) -> str:
    """MySQL's `12:34:56.500000` as Python writes it, without a zero fraction."""
    return re.sub(r"\.0+$", "", text)


# mysql.connector returns a TIME as a timedelta, because it can exceed 24 hours. A TIMESTAMP has no zone, but is in the
# session's, which is UTC. `buffered` would hold the whole result in memory.
MYSQL = AdapterDialect(
    session_sql=("SET time_zone = '+00:00'",),
    readings={
        "timestamp": Reading(convert=lambda value: value.replace(tzinfo=UTC)),
        "time": Reading(sql="CAST({} AS CHAR)", convert=_time_of_day),
        "bit": Reading(sql="CAST({} AS UNSIGNED)"),
        "float": Reading(sql="CAST({} AS CHAR)", convert=float),
    },
    open_cursor=lambda handle: handle.cursor(buffered=False),
)
# PySpark converts instants to local times, and PyHive omits the session's zone. As text in UTC they are exact.
SPARK = AdapterDialect(
    session_sql=("SET TIME ZONE 'UTC'",),
    readings={
        "timestamp_ntz": Reading(),
        "timestamp": Reading(sql="date_format({}, \"yyyy-MM-dd'T'HH:mm:ss.SSSSSS\")", convert=_instant),
        "float": Reading(sql="CAST({} AS STRING)", convert=float),
        "interval": Reading(sql="CAST({} AS STRING)", convert=interval_of_text),
        "void": Reading(sql="CAST({} AS STRING)"),
        "array": Reading(sql="to_json({})", convert=JsonText),
        "map": Reading(sql="to_json({})", convert=JsonText),
        "struct": Reading(sql="to_json({})", convert=JsonText),
        "variant": Reading(sql="to_json({})", convert=JsonText),
    },
)
# More fractional digits than Python supports. The driver would round them, but every other reader truncates.
_NANOSECONDS = r"\((?:[7-9]|1[0-2])\)"


def _cut_moment(text: str) -> datetime:
    """Trino's `2027-03-28 01:30:00.123456789 UTC`, or the same without a zone."""
    moment = datetime.fromisoformat(text[: len("2027-03-28 01:30:00.123456")])
    return moment.replace(tzinfo=UTC) if text.endswith(" UTC") else moment


# dbt-trino's cursor holds the whole result in memory, and its `fetchmany` drops all rows but the first ones. The
# driver's cursor streams. It returns an interval of months as a relativedelta.
TRINO = AdapterDialect(
    session_sql=("SET TIME ZONE 'UTC'",),
    readings={
        "interval": Reading(sql="CAST({} AS VARCHAR)", convert=interval_of_text),
        f"timestamp{_NANOSECONDS} with": Reading(sql="CAST(at_timezone({}, 'UTC') AS VARCHAR)", convert=_cut_moment),
        f"timestamp{_NANOSECONDS}": Reading(sql="CAST({} AS VARCHAR)", convert=_cut_moment),
        f"time{_NANOSECONDS}$": Reading(sql="CAST({} AS VARCHAR)", convert=lambda text: time.fromisoformat(text[:15])),
    },
    names_types=True,
    open_cursor=lambda handle: handle.handle.cursor(),
)
DIALECTS: Mapping[str, AdapterDialect] = {
    "mariadb": MYSQL,
    "mysql": MYSQL,
    "mysql5": MYSQL,
    "spark": SPARK,
    "trino": TRINO,
}
PLAIN = AdapterDialect(is_trusted=False)


def dialect_of(kind: str) -> AdapterDialect:
    """The dialect of a profile's `type`."""
    return DIALECTS.get(kind, PLAIN)
