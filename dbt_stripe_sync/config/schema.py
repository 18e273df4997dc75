"""Builds the JSON Schema of `meta.stripe_sync` for editors, inside the structure of a dbt `schema.yml`.

It knows every parameter of every resource that can be synced, with Stripe's descriptions and enums, and accepts
everything that belongs to dbt. Checks that involve several places (required parameters, references) are left to
`dbt-stripe-sync parse`. It is draft 7, which every version of the YAML language server supports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from dbt_stripe_sync.config.limits import MAX_READS, THRESHOLDS
from dbt_stripe_sync.config.paths import SHAPES
from dbt_stripe_sync.model.lifecycle import Mode, Removal
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.sync import (
    Conversion,
    DiffPlace,
    ItemsOwned,
    MatchEmail,
    Nulls,
    OnAmbiguous,
    OnDeleted,
    OnDrift,
    WhenEnded,
    WhenReplaced,
)
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from enum import Enum

    from dbt_stripe_sync.model.params import Param
    from dbt_stripe_sync.stripe_api.catalog import Catalog, Resource

DRAFT = "http://json-schema.org/draft-07/schema#"
_NAMES = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
_NULLS = {
    "enum": [nulls.value for nulls in Nulls],
    "description": "What a null does to a field that the sync has set: `clear` empties it, `ignore` leaves it.",
}
_PARTS: Mapping[str, Any] = {
    "column": {"type": "string", "description": "The column with the value."},
    "as": {
        "enum": [conversion.value for conversion in Conversion],
        "description": "How to convert the column, if the parameter's type doesn't say.",
    },
    "currency": {"type": "string", "description": "Three-letter code, for `as: minor_units`."},
    "currency_column": {"type": "string", "description": "The column with the currency, for `as: minor_units`."},
    "nulls": _NULLS,
    "template": {"type": "string", "description": "Jinja2 over the columns, in `[[ ]]` and `[% %]`."},
    "value": {"description": "The same value for every row."},
    "sync": {"type": "string", "description": "The sync that creates the object."},
    "key": {**_NAMES, "description": "The column with the key of the other sync's row."},
    "when_replaced": {
        "enum": [choice.value for choice in WhenReplaced],
        "description": "`follow` refers to the new object after a replacement, `keep` stays with the old one.",
    },
    "lookup": {"type": "string", "description": "The resource that is looked up in Stripe."},
    "by": {"type": "string", "description": "What the object is found by: `email`, `lookup_key`, `metadata.x`."},
    "model": {"type": "string", "description": "The child model with one row for each item."},
    "on": {**_NAMES, "description": "The child's columns that hold this row's key."},
    "fields": {"type": "object", "description": "The fields of each item."},
    "order_by": {**_NAMES, "description": "The child's columns that the items are ordered by."},
}
_REQUIRED = {"sync": ["sync", "key"], "lookup": ["lookup", "by", "column"], "model": ["model", "on", "fields"]}


def build_schema(catalog: Catalog) -> dict[str, Any]:
    """The whole schema. Takes about a second, since it reads every resource."""
    builder = _Builder()
    resources = [
        resource
        for name in catalog.names()
        if lifecycle_of(name).refused is None and (resource := catalog.resource(name)) is not None
    ]
    sync = _sync(resources)
    sync["allOf"] = [builder.rule(resource) for resource in resources]
    return {
        "$schema": DRAFT,
        "title": "dbt properties with Stripe syncs",
        "type": "object",
        "properties": {part: {"type": "array", "items": _ref("node")} for part in ("models", "seeds", "snapshots")},
        "definitions": {
            "node": _node(),
            "meta": {"type": ["object", "null"], "properties": {"stripe_sync": _ref("syncs")}},
            "syncs": {
                "description": "Which Stripe objects the rows of this model are.",
                "anyOf": [_ref("sync"), {"type": "array", "items": {"allOf": [_ref("sync")], "required": ["name"]}}],
            },
            "sync": sync,
            **builder.definitions,
        },
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/definitions/{name}"}


def _node() -> dict[str, Any]:
    field = {
        "type": "string",
        "description": "The Stripe parameter that this column maps to.",
    }
    column_meta = {"type": ["object", "null"], "properties": {"stripe_field": field}}
    config = {"type": ["object", "null"], "properties": {"meta": column_meta}}
    columns = {
        "type": ["array", "null"],
        "items": {"type": "object", "properties": {"meta": column_meta, "config": config}},
    }
    return {
        "type": "object",
        "properties": {
            "config": {"type": ["object", "null"], "properties": {"meta": _ref("meta")}},
            "meta": _ref("meta"),
            "columns": columns,
        },
    }


def _choice(choices: type[Enum], description: str) -> dict[str, Any]:
    return {"enum": [choice.value for choice in choices], "description": description}


def _sync(resources: list[Resource]) -> dict[str, Any]:
    count = {"type": ["integer", "string"], "pattern": r"^\s*\d[\d_]*\s*$", "minimum": 0}
    threshold = {"type": ["integer", "string"], "pattern": r"^\s*[\d_]+(\.\d+)?\s*%?\s*$", "minimum": 0}
    return {
        "type": "object",
        "required": ["resource", "key"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "pattern": r"^[\w.-]{1,100}$", "description": "Default: the model's name."},
            "resource": {
                "description": "The Stripe resource that each row is.",
                # Other spellings of a name are accepted, too (`customers`), so they are not an error here.
                "anyOf": [{"enum": [resource.name for resource in resources]}, {"type": "string"}],
            },
            "key": {**_NAMES, "description": "The columns that identify a row."},
            "mode": _choice(Mode, "Which rows may be written."),
            "match": {**_NAMES, "description": "How a row without a record finds an existing object; first hit wins."},
            "fields": {"type": "object", "description": "Stripe parameter: column, or `{template: …}`, `{value: …}` …"},
            "on_removed": _choice(
                Removal, "What to do with the object when its row leaves the model. Default: `ignore`."
            ),
            "on_ambiguous": _choice(OnAmbiguous, "What to do if `match` finds several objects for one row."),
            "match_email": _choice(MatchEmail, "Whether an email address matches in another case. Default: `exact`."),
            "when_ended": _choice(
                WhenEnded,
                "What to do for a row whose object has ended: `keep` leaves it, `restart` creates a new "
                "one. Default: `keep`.",
            ),
            "on_drift": _choice(
                OnDrift, "What to do if somebody has changed a mapped field in Stripe. Default: `report`."
            ),
            "on_deleted": _choice(
                OnDeleted, "What to do with a row whose object was deleted in Stripe. Default: `reject`."
            ),
            "refresh_every": {
                "type": "string",
                "pattern": r"^\s*\d{1,6} ?[mhdw]\s*$",
                "description": "How often the objects are read back from Stripe: `12h`, `7d`.",
            },
            "items_owned": _choice(ItemsOwned, "Which items of lists belong to the row: those that it added, or all."),
            "limits": {
                "type": "object",
                "additionalProperties": False,
                "properties": {**dict.fromkeys(THRESHOLDS, threshold), MAX_READS: count},
                "description": "If one of these limits (`500` or `10%`) is exceeded, nothing is sent for the sync.",
            },
            "nulls": _NULLS,
            "after": {
                **_NAMES,
                "description": "Syncs that run before this one, in addition to its references.",
            },
            "options": {
                "type": "object",
                "description": "Switches that some resources have: `replace`, `finalize`, `accept`, `stream`.",
            },
            "store_values": {
                "type": "boolean",
                "description": "`false` keeps salted hashes of the rows' values in the state, and no values.",
            },
            "diff": _choice(
                DiffPlace, "Where rows are compared: `warehouse` has it send changed rows only. Default: `local`."
            ),
            "history": {
                "type": "boolean",
                "description": "`true` syncs the closed rows of a snapshot, too. Default: only its current rows.",
            },
            "enabled": {"type": "boolean", "description": "`false` disables the sync."},
        },
    }


class _Builder:
    """Builds the parts of resources; equal parts are written once."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._known: dict[bytes, str] = {}

    def rule(self, resource: Resource) -> dict[str, Any]:
        """The schema of a sync that names this resource."""
        lifecycle = resource.lifecycle
        removals = [Removal.IGNORE.value, *(removal.value for removal in lifecycle.on_removed)]
        options = {option: {"type": "boolean"} for option in lifecycle.options}
        name = f"fields of {resource.name}"
        self.definitions[name] = self._fields(resource.params)
        return {
            "if": {"properties": {"resource": {"const": resource.name}}, "required": ["resource"]},
            "then": {
                "properties": {
                    "fields": _ref(name),
                    "mode": {"enum": sorted(mode.value for mode in lifecycle.modes)},
                    "on_removed": {"enum": removals},
                    "options": {"properties": options, "additionalProperties": False},
                }
            },
        }

    def _fields(self, params: Mapping[str, Param]) -> dict[str, Any]:
        """The names below `fields`: parameters, and the parts of hashes after a dot."""
        properties = {name: self._param(param) for name, param in params.items()}
        patterns = {}
        for name, param in params.items():
            inner = param.fields or {}
            properties |= {f"{name}.{part}": self._param(nested) for part, nested in inner.items()}
            deep = [part for part, nested in inner.items() if nested.fields or nested.values]
            if param.kind is ParamKind.MAP:
                patterns[f"^{name}\\..+"] = self._named("value", _value())
            elif deep:
                patterns[f"^{name}\\.({'|'.join(deep)})\\..+"] = self._named("value", _value())
        fields: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        return {**fields, "patternProperties": patterns} if patterns else fields

    def _param(self, param: Param) -> dict[str, Any]:
        described = " ".join(_described(param))
        schema = self._source(param)
        return {"description": described, "allOf": [schema]} if described else schema

    def _source(self, param: Param) -> dict[str, Any]:
        """The possible sources of a parameter's value."""
        if param.kind is ParamKind.HASH and param.fields:
            nested = self._shared(self._fields(param.fields))
            return {"anyOf": [nested, self._named("value", _value())]}
        if param.kind is ParamKind.MAP:
            return self._named("map", {"anyOf": [{"type": "object"}, {"type": "string"}]})
        if param.kind is ParamKind.LIST and param.item is not None:
            item = self._shared(self._fields(param.item.fields)) if param.item.fields else {}
            items = {"anyOf": [item, self._named("value", _value())]} if item else self._source(param.item)
            children = _shape("model")
            if item:
                children["properties"]["fields"] = item
            return self._shared(
                {"anyOf": [{"type": "array", "items": items}, children, self._named("value", _value())]}
            )
        if param.enum and param.kind is ParamKind.ENUM:
            return self._shared(_value(enum=param.enum))
        return self._named("value", _value())

    def _named(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        self.definitions.setdefault(name, schema)
        return _ref(name)

    def _shared(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = self._known.setdefault(orjson.dumps(schema), f"part {len(self._known) + 1}")
        return self._named(name, schema)


def _value(enum: tuple[str, ...] = ()) -> dict[str, Any]:
    shapes = [_shape(kind, enum) for kind in SHAPES if kind != "model"]
    return {"anyOf": [{"type": "string", "description": "A column, or a template."}, *shapes]}


def _shape(kind: str, enum: tuple[str, ...] = ()) -> dict[str, Any]:
    parts = {name: _PARTS[name] for name in sorted(SHAPES[kind], key=list(_PARTS).index)}
    if kind == "value" and enum:
        parts["value"] = {"enum": list(enum), "description": _PARTS["value"]["description"]}
    return {
        "type": "object",
        "required": _REQUIRED.get(kind, [kind]),
        "properties": parts,
        "additionalProperties": False,
    }


def _described(param: Param) -> Iterator[str]:
    if param.required:
        yield "(required)"
    if param.immutable:
        yield "(fixed once the object exists)"
    if param.description:
        yield param.description
    if param.enum:
        yield f"One of {', '.join(f'`{word}`' for word in param.enum)}."
