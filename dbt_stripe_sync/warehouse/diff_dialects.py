"""How each engine hashes a row: one row of data for each kind of warehouse that can compare rows itself.

A hash has 64 bits, signed, and goes over what the reader of that engine hands over: two values that are read
differently are hashed differently, null and empty text, -0.0 and 0.0, `1.0` and `1.00` among them.
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

# Keys of these types have one text everywhere, which is how rows and hashes find each other. Each engine's names for
# them; what follows in parentheses (a length) doesn't count.
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
        """The hash of some columns, NULL never."""
        ...


class Among(Protocol):
    """Makes the SQL for whether a key is one of many."""

    def __call__(self, key: exp.Expr, keys: Sequence[str]) -> exp.Expr:
        """Whether the text of a key is among `keys`."""
        ...


class DiffDialect(Struct, frozen=True, kw_only=True):
    """How one engine differs. `sqlglot` is its name there, `hash_row` its hash.

    `key_types` are the types that keys may have; `no_hash` is how the names of those begin whose values no expression
    tells apart exactly.
    `deletes` says that rows of a table can be deleted; where they can't, later rows supersede earlier ones. `can_hash`
    is a query for whether the server has the hash, None where each has. `among` makes the SQL for whether a key is one
    of many; it is for engines whose reader sees one snapshot.
    """

    sqlglot: str
    hash_row: HashRow
    key_types: frozenset[str] = PLAIN
    no_hash: tuple[str, ...] = ()
    deletes: bool = True
    can_hash: str | None = None
    among: Among | None = None


def text(value: exp.Expr) -> exp.Expr:
    """A value as text."""
    return exp.cast(value, exp.DataType.Type.TEXT)


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))


def _lengths(values: Sequence[exp.Expr]) -> exp.Expr:
    """Texts as one unambiguous text: for each its length, a colon and itself, or a dash for null."""
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
    # A collation of the user's may call two texts equal.
    plain = exp.Collate(this=text(value), expression=exp.to_identifier("C", quoted=True))
    return _hash64("HASHTEXTEXTENDED", plain, seed)


def _postgres_bigint(value: exp.Expr, seed: int) -> exp.Expr:
    """PostgreSQL folds a bigint to 32 bits before it hashes it (1 has the hash of 2^32): the upper half goes along."""
    upper = exp.BitwiseRightShift(this=value.copy(), expression=exp.Literal.number(32))
    folded = _hash64("HASHINT8EXTENDED", value, seed)
    return exp.BitwiseXor(this=folded, expression=_hash64("HASHINT8EXTENDED", upper, seed + 1))


def _epoch(value: exp.Expr) -> exp.Expr:
    return _call("DATE_PART", exp.Literal.string("epoch"), value)


def _postgres_timestamp(value: exp.Expr, seed: int) -> exp.Expr:
    """Folded as a bigint is. Moments with the same hash are an hour apart at least, which a float of seconds tells."""
    folded = _hash64("TIMESTAMP_HASH_EXTENDED", value, seed)
    return exp.BitwiseXor(this=folded, expression=_hash64("HASHFLOAT8EXTENDED", _epoch(value.copy()), seed + 1))


def _postgres_timestamptz(value: exp.Expr, seed: int) -> exp.Expr:
    return _postgres_timestamp(exp.AtTimeZone(this=value, zone=exp.Literal.string("UTC")), seed)


# How values of a type are hashed: no two of a type have one hash by design. All others are hashed as their texts, since
# to PostgreSQL 1.0 is 1.00 as a numeric, and -0.0 is 0.0 as a float.
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
    """Each column hashed as it is, with a seed of its own, and no record made of them: at two thirds of the cost."""
    hashes: list[exp.Expr] = []
    for number, column in enumerate(columns):
        digest = sha256(f"{number} {salt}".encode()).digest()
        # Half of the numbers of 64 bits, since PostgreSQL reads a minus as an operator.
        seed, of_null = (int.from_bytes(digest[part : part + 8]) >> 1 for part in (0, 8))
        hashed = _POSTGRES_HASHES.get(column.type, _postgres_text)(column.sql, seed)
        hashes.append(exp.Coalesce(this=hashed, expressions=[exp.Literal.number(of_null)]))
    return reduce(lambda one, other: exp.BitwiseXor(this=one, expression=other), hashes)


def _postgres_among(key: exp.Expr, keys: Sequence[str]) -> exp.Expr:
    """One literal, however many keys: PostgreSQL joins what it holds."""
    listed = exp.cast(exp.Literal.string(orjson.dumps(keys).decode()), "jsonb")
    return key.isin(query=exp.select(_call("JSONB_ARRAY_ELEMENTS_TEXT", listed)))


def _duckdb(columns: Sequence[TypedColumn], salt: str) -> exp.Expr:
    """DuckDB's own hash of values and of the bytes of their texts.

    -0.0 has the hash of 0.0, and a text alone may be ambiguous. Texts are hashed as bytes alone: DuckDB gives one hash
    to texts that the column's collation calls equal, and refuses two collations in one call.
    """
    import duckdb  # its hash may be another one in another version

    values = [column.sql for column in columns if column.type != "varchar"]
    texts = [_call("ENCODE", text(column.sql.copy())) for column in columns]
    hashed = _call("HASH", exp.Literal.string(f"{salt} {duckdb.__version__}"), *values, *texts)
    # An unsigned number of 64 bits as a signed one.
    half, whole = exp.Literal.number(2**63 - 1), exp.Literal.number(2**64)
    wide = exp.cast(hashed, "int128")
    return exp.cast(
        exp.Case()
        .when(exp.GT(this=hashed.copy(), expression=half), exp.Sub(this=wide, expression=whole))
        .else_(wide.copy()),
        "bigint",
    )


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
    # A hash of several values skips nulls, so (null, 'a') and ('a', null) would be equal.
    return _call("XXHASH64", exp.Literal.string(salt), _lengths(values))


def _snowflake(columns: Sequence[TypedColumn], salt: str) -> exp.Expr:
    nested = ("array", "map", "object", "variant", "geo")
    values = [_call("TO_JSON", column.sql) if column.type.startswith(nested) else column.sql for column in columns]
    return _call("HASH", exp.Literal.string(salt), *values)


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
    return _call("FARMFINGERPRINT64", _lengths([exp.Literal.string(salt), *values]))


def _word(boolean: exp.Expr) -> exp.Expr:
    """Redshift makes no text of a boolean."""
    yes, no = exp.Literal.string("true"), exp.Literal.string("false")
    return exp.Case().when(boolean, yes).when(exp.not_(boolean.copy()), no)


DIALECTS: Mapping[str, DiffDialect] = {
    "postgres": DiffDialect(
        sqlglot="postgres",
        hash_row=_postgres,
        can_hash="SELECT to_regprocedure('hash_record_extended(record,bigint)') IS NOT NULL AS can_hash",
        among=_postgres_among,
    ),
    "duckdb": DiffDialect(sqlglot="duckdb", hash_row=_duckdb),
    "spark": DiffDialect(sqlglot="spark", hash_row=_spark, deletes=False),
    "databricks": DiffDialect(sqlglot="databricks", hash_row=_spark),
    # Its integers are numbers without decimals, and its reader calls both FIXED: their texts are compared once read.
    "snowflake": DiffDialect(sqlglot="snowflake", hash_row=_snowflake, key_types=PLAIN | {"fixed"}),
    "bigquery": DiffDialect(sqlglot="bigquery", hash_row=_bigquery),
    # Its text of a float leaves digits out, and what is cast to a text of a type without a name is not known.
    "redshift": DiffDialect(
        sqlglot="redshift",
        hash_row=_redshift,
        key_types=PLAIN - {"boolean", "bool"},
        no_hash=("real", "double precision", "type "),
    ),
}
