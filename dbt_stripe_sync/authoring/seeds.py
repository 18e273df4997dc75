"""Renders Stripe objects as a dbt seed: its columns, its CSV file, and the YAML with a sync that maps them back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct, field

from dbt_stripe_sync.authoring.snippet import yaml_scalar
from dbt_stripe_sync.model.params import ParamKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.authoring.object_values import Path
    from dbt_stripe_sync.model.params import Param, Resource

KEY = "id"
STEP = "  "
# With more keys than this, all metadata goes into one JSON column, since such a wide table is unreadable.
MOST_METADATA_COLUMNS = 20
# A name that is valid in a field's path and in a warehouse: dots would lead into a hash, and dbt renders braces.
_PATH_NAME = re.compile(r"[A-Za-z0-9_ -]+")
# PostgreSQL truncates longer names (NAMEDATALEN).
MOST_NAME_CHARACTERS = 63
# The names of column types in dbt seeds, by adapter; others use those of standard SQL.
_TEXT_TYPES = {
    "athena": "varchar",
    "bigquery": "string",
    "databricks": "string",
    "duckdb": "varchar",
    "postgres": "text",
    "redshift": "varchar(65535)",
    "snowflake": "varchar",
    "spark": "string",
}
_STANDARD_TEXT = "varchar(4000)"
_INTEGER_TYPES = {"bigquery": "int64"}
_BOOLEAN_TYPES = {"bigquery": "bool"}


class Row(Struct, frozen=True, kw_only=True):
    """One object: its row's key, and its values by their paths."""

    key: str
    values: Mapping[Path, Any]


class SeedColumn(Struct, frozen=True, kw_only=True):
    """One column: the parameter's path, and how the cells are written. With `as_json`, every cell is JSON text."""

    name: str
    path: Path
    kind: ParamKind
    as_json: bool = False


class Seed(Struct, frozen=True, kw_only=True):
    """A seed with its sync. `references` are the syncs that columns refer to, by parameter."""

    name: str
    resource: str
    title: str
    columns: tuple[SeedColumn, ...]
    rows: tuple[Row, ...]
    references: Mapping[str, str] = field(default_factory=dict)

    @property
    def key_column(self) -> str:
        """The column with each row's key, which is also a parameter for most kinds of object."""
        return KEY


def build_seed(
    name: str, resource: Resource, rows: Iterable[Row], references: Mapping[str, str], *, title: str
) -> Seed:
    """The seed of some objects of one kind."""
    found = tuple(rows)
    found = tuple(_with_whole_metadata(found, resource))
    paths = _in_order({path for row in found for path in row.values}, resource)
    names = {KEY}
    columns = [
        SeedColumn(
            name=KEY if path == (KEY,) else _column_name(path, names),
            path=path,
            kind=param.kind,
            as_json=param.kind in _TEXTS and any(_needs_json(row.values.get(path)) for row in found),
        )
        for path in paths
        if (param := resource.param(path)) is not None
    ]
    return Seed(
        name=name, resource=resource.name, title=title, columns=tuple(columns), rows=found, references=references
    )


def build_meta(seed: Seed) -> dict[str, Any]:
    """The `stripe_sync` block."""
    fields = {".".join(column.path): _mapping(column, seed) for column in seed.columns}
    return {"resource": seed.resource, "key": seed.key_column, "match": KEY, "fields": fields}


def render_csv(seed: Seed) -> Iterator[str]:
    """The lines of the CSV file. Every text is quoted, so that only an empty cell is null."""
    has_key = any(column.path == (KEY,) for column in seed.columns)
    yield ",".join([*([] if has_key else [KEY]), *(column.name for column in seed.columns)])
    for row in seed.rows:
        cells = [_cell(row.values.get(column.path), column) for column in seed.columns]
        yield ",".join([*([] if has_key else [_quoted(row.key)]), *cells])


def render_yaml(seeds: Sequence[Seed], *, header: str, adapter: str) -> str:
    """The YAML of some seeds, with each one's column types, its sync, and the tests of its key."""
    lines = [header, "version: 2", "", "seeds:"]
    for seed in seeds:
        lines += [f"{STEP}{line}" for line in _seed_lines(seed, adapter)]
    return "\n".join(lines) + "\n"


def _seed_lines(seed: Seed, adapter: str) -> Iterator[str]:
    meta = build_meta(seed)
    yield f"- name: {yaml_scalar(seed.name)}"
    yield f"  description: {yaml_scalar(seed.title)}"
    yield "  config:"
    yield "    column_types:"
    has_key = any(column.path == (KEY,) for column in seed.columns)
    types = {} if has_key else {KEY: _type(ParamKind.STRING, adapter)}
    types |= {column.name: _type(column.kind, adapter) for column in seed.columns}
    yield from (f"      {yaml_scalar(name)}: {kind}" for name, kind in types.items())
    yield "    meta:"
    yield "      stripe_sync:"
    yield from (f"        {name}: {yaml_scalar(meta[name])}" for name in ("resource", "key", "match"))
    yield "        fields:"
    yield from (f"          {_path_text(path)}: {_value(value)}" for path, value in meta["fields"].items())
    yield "  columns:"
    yield f"    - name: {seed.key_column}"
    yield "      data_tests: [unique, not_null]"


def _path_text(path: str) -> str:
    return yaml_scalar(path)


def _value(value: str | Mapping[str, str]) -> str:
    if isinstance(value, str):
        return yaml_scalar(value)
    return "{" + ", ".join(f"{name}: {yaml_scalar(part)}" for name, part in value.items()) + "}"


def _mapping(column: SeedColumn, seed: Seed) -> str | dict[str, str]:
    sync = seed.references.get(".".join(column.path))
    if sync is not None:
        return {"sync": sync, "key": column.name}
    return {"column": column.name, "as": "json"} if column.as_json else column.name


def _type(kind: ParamKind, adapter: str) -> str:
    if kind is ParamKind.BOOLEAN:
        return _BOOLEAN_TYPES.get(adapter, "boolean")
    if kind is ParamKind.INTEGER:
        return _INTEGER_TYPES.get(adapter, "bigint")
    return _TEXT_TYPES.get(adapter, _STANDARD_TEXT)


_TEXTS = frozenset({ParamKind.STRING, ParamKind.ENUM, ParamKind.ANY, ParamKind.MAP})


def _needs_json(value: Any) -> bool:
    """Whether dbt's seeds would read another text than was written.

    They read the word `null` as no value, and turn a carriage return into a line feed.
    """
    return isinstance(value, str) and ("\r" in value or value.strip().lower() == "null" or value != value.strip())


def _cell(value: Any, column: SeedColumn) -> str:
    if value is None:
        return ""
    if column.as_json or isinstance(value, list | dict):
        return _quoted(orjson.dumps(value).decode())
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else _quoted(str(value))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _in_order(paths: Iterable[Path], resource: Resource) -> list[Path]:
    """The id first, then the parameters in the catalog's order, metadata last."""
    names = list(resource.params)

    def place(path: Path) -> tuple[bool, bool, list[int], Path]:
        order: list[int] = []
        params: Mapping[str, Param] = resource.params
        for name in path:
            if name not in params:
                break
            order.append(list(params).index(name))
            params = params[name].fields or {}
        return path != (KEY,), path[0] == "metadata", order or [len(names)], path

    return sorted(paths, key=place)


def _column_name(path: Path, taken: set[str]) -> str:
    """A name that needs no quotes in any warehouse, and is unique for each path."""
    plain = re.sub(r"[^a-z0-9_]+", "_", "_".join(path).lower()).strip("_")[: MOST_NAME_CHARACTERS - 4]
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    taken.add(name)
    return name


def _with_whole_metadata(rows: Sequence[Row], resource: Resource) -> Iterator[Row]:
    """The same rows, with a map as one value if it has too many keys, or keys that no field's path can name."""
    maps = {name for name, param in resource.params.items() if param.kind is ParamKind.MAP}
    keys = {path for row in rows for path in row.values if len(path) > 1 and path[0] in maps}
    whole = {
        name
        for name in maps
        if len(of := [path for path in keys if path[0] == name]) > MOST_METADATA_COLUMNS
        or not all(_PATH_NAME.fullmatch(path[1]) for path in of)
    }
    for row in rows:
        values: dict[Path, Any] = {}
        for path, value in row.values.items():
            if path[0] in whole and len(path) > 1:
                values.setdefault((path[0],), {})[path[1]] = value
            else:
                values[path] = value
        yield Row(key=row.key, values=values)
