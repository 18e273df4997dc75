"""How each PostgreSQL type is read, so that what arrives as Arrow is exact and plain.

ADBC gives `money` as a bare integer, `inet` and its kin as raw bytes, pads `char(n)`, flattens nested arrays and fails
on composites: those are cast in SQL. So is `numeric`: ADBC would write the same exact text, at a third of the cost of a
whole row, and PostgreSQL writes it for nothing more than its binary form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    import pyarrow as pa

# pg_type.typtype and typcategory (postgresql.org/docs/current/catalog-pg-type.html).
COMPOSITE = "c"
ARRAY_CATEGORY = "A"
# What ADBC hands over in a typed, exact form, by its name for the (base) type.
PLAIN = frozenset(
    {"bool", "int2", "int4", "int8", "float4", "float8", "text", "varchar", "name", "bytea"}
    | {"date", "time", "timestamp", "timestamptz", "uuid", "json", "jsonb"}
)
# Where `::text` is not the best form. `abbrev` writes an inet as PostgreSQL shows it: no `/32` behind a single host.
FORMS = {"oid": "{}::bigint", "inet": "abbrev({})", "hstore": "to_json({})", "money": "{}::numeric::text"}
# What is read as the text of an exact number.
NUMBERS = frozenset({"numeric", "money"})
# Elements that must not become JSON numbers (which readers take for floats) or keep their padding.
ELEMENTS_AS_TEXT = {"numeric": "{}::text[]", "character": "{}::text[]", "money": "{}::numeric[]::text[]"}


class TypeInfo(Struct, frozen=True, kw_only=True):
    """A type as the catalog has it: its name, `typtype`, category, and the name of an array's element."""

    name: str
    typtype: str
    category: str
    element: str


def read_sql(column: str, field: pa.Field, info: TypeInfo) -> str:
    """The expression that reads `column`: itself, or cast to what has a plain form."""
    base = _base_type(field)
    if base in PLAIN:
        return column
    if base in FORMS:
        return FORMS[base].format(column)
    if info.category == ARRAY_CATEGORY or base.startswith("_"):
        # As JSON an array keeps its dimensions, and a composite its names.
        return f"to_json({ELEMENTS_AS_TEXT.get(info.element, '{}').format(column)})"
    if info.typtype == COMPOSITE or base == "record":
        return f"to_json({column})"
    return f"{column}::text"


def is_number(field: pa.Field) -> bool:
    """Whether the text that is read of a column is an exact number."""
    return _base_type(field) in NUMBERS


def type_name(field: pa.Field, info: TypeInfo) -> str:
    """The type in PostgreSQL's words, with the precision of a numeric."""
    modifier = (field.metadata or {}).get(b"POSTGRESQL:typmod", b"-1")
    packed = int(modifier) - 4  # a numeric's modifier: precision in the upper half, an 11-bit scale in the lower
    if _base_type(field) != "numeric" or packed < 0 or info.name != "numeric":
        return info.name
    scale = (packed & 0x7FF ^ 1024) - 1024
    return f"numeric({packed >> 16},{scale})"


def _base_type(field: pa.Field) -> str:
    # A domain is described as the type beneath it, so one over `numeric` is read as a numeric.
    return str((field.metadata or {}).get(b"POSTGRESQL:type", b"").decode())
