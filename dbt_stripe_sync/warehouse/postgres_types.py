"""Defines how each PostgreSQL type is read, so that its values in Arrow are exact and of a plain type.

ADBC returns `money` as a bare integer and `inet` and similar types as raw bytes, pads `char(n)`, flattens nested arrays
and fails on composites. Those are cast in SQL. So is `numeric`: ADBC would make the same exact text, but that takes a
third of the time for a whole row, while the text costs PostgreSQL no more than the binary form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import pyarrow as pa

# pg_type.typtype and typcategory (postgresql.org/docs/current/catalog-pg-type.html).
COMPOSITE = "c"
ARRAY_CATEGORY = "A"
# Types that ADBC returns typed and exact, by its name for the (base) type.
PLAIN = frozenset(
    {"bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar", "name", "bytea"}
    | {"date", "time", "timestamp", "timestamptz", "uuid", "json", "jsonb"}
)
# Types for which `::text` isn't the best form. `abbrev` writes an inet as PostgreSQL displays it: a single host has no
# `/32`.
FORMS = {"oid": "{}::bigint", "inet": "abbrev({})", "hstore": "to_json({})", "money": "{}::numeric::text"}
# Types that are read as the text of an exact number.
NUMBERS = frozenset({"numeric", "money"})
# Array elements that must not become JSON numbers, which readers convert to floats, or keep their padding.
ELEMENTS_AS_TEXT = {"numeric": "{}::text[]", "character": "{}::text[]", "money": "{}::numeric[]::text[]"}


class TypeInfo(Struct, frozen=True, kw_only=True):
    """A type in the catalog: its name, `typtype`, category, and the element type's name for an array."""

    name: str
    typtype: str
    category: str
    element: str


def read_sql(column: str, field: pa.Field, info: TypeInfo) -> str:
    """The expression that reads `column`, with a cast if its type isn't plain."""
    base = _base_type(field)
    if base in PLAIN:
        return column
    if base in FORMS:
        return FORMS[base].format(column)
    if info.category == ARRAY_CATEGORY or base.startswith("_"):
        # In JSON an array keeps its dimensions, and a composite its names.
        return f"to_json({ELEMENTS_AS_TEXT.get(info.element, '{}').format(column)})"
    if info.typtype == COMPOSITE or base == "record":
        return f"to_json({column})"
    return f"{column}::text"


def is_number(field: pa.Field) -> bool:
    """Whether the text that is read for a column is an exact number."""
    return _base_type(field) in NUMBERS


def type_name(field: pa.Field, info: TypeInfo) -> str:
    """The type's name in PostgreSQL, with the precision of a numeric."""
    modifier = (field.metadata or {}).get(b"POSTGRESQL:typmod", b"-1")
    packed = int(modifier) - 4  # a numeric's modifier: precision in the upper half, an 11-bit scale in the lower
    if _base_type(field) != "numeric" or packed < 0 or info.name != "numeric":
        return info.name
    scale = (packed & 0x7FF ^ 1024) - 1024
    return f"numeric({packed >> 16},{scale})"


def _base_type(field: pa.Field) -> str:
    # ADBC describes a domain as its base type, so a domain over `numeric` is read as a numeric.
    return str((field.metadata or {}).get(b"POSTGRESQL:type", b"").decode())
