"""Defines how each engine hashes a row, as one entry for each kind of warehouse that can compare rows itself.

A hash is a signed 64-bit integer of the values as that engine's reader returns them. Values that are read differently
have different hashes, such as null and empty text, -0.0 and 0.0, or `1.0` and `1.00`.
"""

from __future__ import annotations

from functools import partial, reduce
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import orjson
from msgspec import Struct
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# Keys of these types have the same text in every engine, by which rows are matched with hashes. These are the engines'
# names for the types, without a length in parentheses.
INTEGERS = frozenset(
    {"tinyint", "smallint", "integer", "int", "bigint", "int2", "int4", "int8", "int16", "int32", "int64", "hugeint"}
)
PLAIN = INTEGERS | {"text", "varchar", "string", "uuid", "character varying", "date", "boolean", "bool", "large_string"}


class TypedColumn(Struct, frozen=True, kw_only=True):
    """A column of a model by its quoted name, with the engine's name for its type in lower case."""

    sql: exp.Expr
    type: str


class HashRow(Protocol):
    """Makes the SQL for the hash of a row."""

    def __call__(self, columns: Sequence[TypedColumn], salt: str) -> exp.Expr:
        """The hash of some columns. It is never NULL."""
        ...


class Among(Protocol):
    """Makes the SQL for whether a key is one of many."""

    def __call__(self, key: exp.Expr, keys: Sequence[str]) -> exp.Expr:
        """Whether the text of a key is among `keys`."""
        ...


class DiffDialect(Struct, frozen=True, kw_only=True):
    """The parts that depend on the engine. `sqlglot` is its name in sqlglot, and `hash_row` makes the hash.

    `key_types` are the types that keys may have. `no_hash` has the beginnings of names of types whose values can't be
    hashed exactly. `deletes` means that rows of a table can be deleted; otherwise later rows supersede earlier ones.
    `has_digest` means that an aggregate combines hashes by XOR. `can_hash` is a query for whether the server has the
    hash function; None if every server does. `among` makes the SQL for whether a key is one of many; None if a query
    can't have as many keys. `analyzes` means that a new table has no statistics until someone runs `ANALYZE`.
    """

    sqlglot: str
    hash_row: HashRow
    key_types: frozenset[str] = PLAIN
    no_hash: tuple[str, ...] = ()
    deletes: bool = True
    has_digest: bool = True
    can_hash: str | None = None
    among: Among | None = None
    analyzes: bool = False


def text(value: exp.Expr) -> exp.Expr:
    """A value as text."""
    return exp.cast(value, exp.DataType.Type.TEXT)


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))


def _length_prefixed(values: Sequence[exp.Expr]) -> exp.Expr:
    """Texts as one unambiguous text. Each text is preceded by its length and a colon; null is a dash."""
    parts = [
        exp.Coalesce(
            this=exp.DPipe(
                this=exp.DPipe(this=text(exp.Length(this=value.copy())), expression=exp.Literal.string(":")),
                expression=value,
            ),
            expressions=[exp.Literal.string("-")],
        )
        for value in values
    ]
    whole: exp.Expr = parts[0]
    for part in parts[1:]:
        whole = exp.DPipe(this=whole, expression=part)
    return whole


def _hash64(name: str, value: exp.Expr, seed: int) -> exp.Expr:
    return _call(name, value, exp.Literal.number(seed))


def _postgres_text(value: exp.Expr, seed: int) -> exp.Expr:
    # A user-defined collation may treat different texts as equal.
    plain = exp.Collate(this=text(value), expression=exp.to_identifier("C", quoted=True))
    return _hash64("HASHTEXTEXTENDED", plain, seed)


def _postgres_bigint(value: exp.Expr, seed: int) -> exp.Expr:
    """A hash that includes the upper 32 bits: PostgreSQL folds a bigint first, so 1 and 2^32 have the same hash."""
    upper = exp.BitwiseRightShift(this=value.copy(), expression=exp.Literal.number(32))
    folded = _hash64("HASHINT8EXTENDED", value, seed)
    return exp.BitwiseXor(this=folded, expression=_hash64("HASHINT8EXTENDED", upper, seed + 1))


def _epoch(value: exp.Expr) -> exp.Expr:
    return _call("DATE_PART", exp.Literal.string("epoch"), value)


def _postgres_timestamp(value: exp.Expr, seed: int) -> exp.Expr:
    """A hash that includes the seconds, because PostgreSQL folds timestamps like a bigint.

    Timestamps with the same hash are at least an hour apart, so a float of seconds distinguishes them.
    """
    folded = _hash64("TIMESTAMP_HASH_EXTENDED", value, seed)
    return exp.BitwiseXor(this=folded, expression=_hash64("HASHFLOAT8EXTENDED", _epoch(value.copy()), seed + 1))


def _postgres_timestamptz(value: exp.Expr, seed: int) -> exp.Expr:
    return _postgres_timestamp(exp.AtTimeZone(this=value, zone=exp.Literal.string("UTC")), seed)


# How values of a type are hashed, so that no two values have the same hash by design. Other types are hashed as text,
# because to PostgreSQL the numerics 1.0 and 1.00 are equal, and so are the floats -0.0 and 0.0.
_POSTGRES_HASHES: Mapping[str, Callable[[exp.Expr, int], exp.Expr]] = {
    "boolean": lambda value, seed: _hash64("HASHINT4EXTENDED", exp.cast(value, "int"), seed),
    "smallint": partial(_hash64, "HASHINT2EXTENDED"),
    "integer": partial(_hash64, "HASHINT4EXTENDED"),
    "bigint": _postgres_bigint,
    "uuid": partial(_hash64, "UUID_HASH_EXTENDED"),
    "date": lambda value, seed: _hash64("HASH_RECORD_EXTENDED", _call("ROW", value), seed),
    "time without time zone": lambda value, seed: _hash64("HASHFLOAT8EXTENDED", _epoch(value), seed),
    "timestamp without time zone": _postgres_timestamp,
    "timestamp with time zone": _postgres_timestamptz,
    "bytea": lambda value, seed: _postgres_text(_call("ENCODE", value, exp.Literal.string("hex")), seed),
}


def _postgres(columns: Sequence[TypedColumn], salt: str) -> exp.Expr:
    """The columns' hashes, each with its own seed, combined by XOR. This costs two thirds of the hash of a record.

    The result seeds one more hash, so that the hashes of many rows can be combined, too. Otherwise, two rows that swap
    their values of a column might not be noticed.
    """
    hashes: list[exp.Expr] = []
    for number, column in enumerate(columns):
        digest = sha256(f"{number} {salt}".encode()).digest()
        # Only non-negative seeds, because PostgreSQL parses a minus as an operator.
        seed, of_null = (int.from_bytes(digest[part : part + 8]) >> 1 for part in (0, 8))
        hashed = _POSTGRES_HASHES.get(column.type, _postgres_text)(column.sql, seed)
        hashes.append(exp.Coalesce(this=hashed, expressions=[exp.Literal.number(of_null)]))
    combined = reduce(lambda one, other: exp.BitwiseXor(this=one, expression=other), hashes)
    return _call("HASHINT4EXTENDED", exp.Literal.number(0), combined)


def _postgres_among(key: exp.Expr, keys: Sequence[str]) -> exp.Expr:
    """One literal for all keys, which PostgreSQL can join."""
    listed = exp.cast(exp.Literal.string(orjson.dumps(keys).decode()), "jsonb")
    return key.isin(query=exp.select(_call("JSONB_ARRAY_ELEMENTS_TEXT", listed)))


def _duckdb(columns: Sequence[TypedColumn], salt: str) -> exp.Expr:
    """DuckDB's hash of the values and of the bytes of their texts.

    Values alone aren't enough, because -0.0 and 0.0 have the same hash, and texts alone can be ambiguous. Texts are
    hashed as bytes only: DuckDB gives the same hash to texts that the column's collation treats as equal, and rejects
    two collations in one call. The result is hashed again, because DuckDB combines the last value by XOR.
    """
    import duckdb  # its hash function can change with the version

    values = [column.sql for column in columns if column.type != "varchar"]
    texts = [_call("ENCODE", text(column.sql.copy())) for column in columns]
    hashed = _call("HASH", _call("HASH", exp.Literal.string(f"{salt} {duckdb.__version__}"), *values, *texts))
    # Convert the unsigned 64-bit number to a signed one.
    half, whole = exp.Literal.number(2**63 - 1), exp.Literal.number(2**64)
    wide = exp.cast(hashed, "int128")
    return exp.cast(
        exp.Case()
        .when(exp.GT(this=hashed.copy(), expression=half), exp.Sub(this=wide, expression=whole))
        .else_(wide.copy()),
        "bigint",
    )


def _duckdb_among(key: exp.Expr, keys: Sequence[str]) -> exp.Expr:
    """One literal for all keys, which DuckDB can join."""
    listed = _call("FROM_JSON", exp.Literal.string(orjson.dumps(keys).decode()), exp.Literal.string('["VARCHAR"]'))
    return key.isin(query=exp.select(_call("UNNEST", listed)))


def _spark(columns: Sequence[TypedColumn], salt: str) -> exp.Expr:
    nested = ("array", "map", "struct", "variant")
    values = [
        _call("TO_JSON", column.sql)
        if column.type.startswith(nested)
        else _call("HEX", column.sql)
        if column.type == "binary"
        else exp.cast(column.sql, "string")
        for column in columns
    ]
    # Spark's hash of several values skips nulls, so (null, 'a') and ('a', null) would have the same hash.
    return _call("XXHASH64", exp.Literal.string(salt), _length_prefixed(values))


def _snowflake(columns: Sequence[TypedColumn], salt: str) -> exp.Expr:
    nested = ("array", "map", "object", "variant", "geo")
    values = [_call("TO_JSON", column.sql) if column.type.startswith(nested) else column.sql for column in columns]
    # How Snowflake combines values is undocumented, so the result is hashed again, as in DuckDB.
    return _call("HASH", _call("HASH", exp.Literal.string(salt), *values))


def _bigquery(columns: Sequence[TypedColumn], salt: str) -> exp.Expr:
    row = _call("TO_JSON_STRING", exp.Struct(expressions=[exp.Literal.string(salt), *(c.sql for c in columns)]))
    return _call("FARM_FINGERPRINT", row)


def _redshift(columns: Sequence[TypedColumn], salt: str) -> exp.Expr:
    values = [
        _call("JSON_SERIALIZE", column.sql)
        if column.type == "super"
        else _word(column.sql)
        if column.type == "boolean"
        else exp.cast(column.sql, "varchar(65535)")
        for column in columns
    ]
    return _call("FARMFINGERPRINT64", _length_prefixed([exp.Literal.string(salt), *values]))


def _word(boolean: exp.Expr) -> exp.Expr:
    """A boolean as text, because Redshift can't cast it."""
    yes, no = exp.Literal.string("true"), exp.Literal.string("false")
    return exp.Case().when(boolean, yes).when(exp.not_(boolean.copy()), no)


DIALECTS: Mapping[str, DiffDialect] = {
    "postgres": DiffDialect(
        sqlglot="postgres",
        hash_row=_postgres,
        can_hash="SELECT to_regprocedure('hash_record_extended(record,bigint)') IS NOT NULL AS can_hash",
        among=_postgres_among,
        analyzes=True,
    ),
    "duckdb": DiffDialect(sqlglot="duckdb", hash_row=_duckdb, among=_duckdb_among),
    "spark": DiffDialect(sqlglot="spark", hash_row=_spark, deletes=False),
    "databricks": DiffDialect(sqlglot="databricks", hash_row=_spark),
    # Snowflake's integers are numbers without decimals, and its reader calls both FIXED. Their texts are checked later.
    "snowflake": DiffDialect(sqlglot="snowflake", hash_row=_snowflake, key_types=PLAIN | {"fixed"}),
    "bigquery": DiffDialect(sqlglot="bigquery", hash_row=_bigquery),
    # Redshift's text of a float omits digits, and casts of types without a name are undocumented.
    "redshift": DiffDialect(
        sqlglot="redshift",
        hash_row=_redshift,
        has_digest=False,
        key_types=PLAIN - {"boolean", "bool"},
        no_hash=("real", "double precision", "type "),
    ),
}
