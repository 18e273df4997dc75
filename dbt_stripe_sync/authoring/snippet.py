"""Renders a first sync as lines of YAML, with unmapped columns as comments."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.authoring.matching import Matched
    from dbt_stripe_sync.model.params import Param
    from dbt_stripe_sync.stripe_api.catalog import Resource

_PLAIN = re.compile(r"[A-Za-z_][\w.]*")
# In YAML 1.1, which dbt uses, these are booleans or null.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def build_snippet(resource: Resource, matched: Matched) -> list[str]:
    """The lines below `stripe_sync:`, indented by two spaces per level, but not as a whole."""
    name = resource.name
    lines = [f"resource: {name}", f"key: {_names(matched.key)}", "fields:"]
    lines += [f"  {yaml_scalar(path)}: {_value(value)}" for path, value in matched.fields.items()]
    lines += [f"  # {path}: {_value(entry.value)}  # {entry.reason}" for path, entry in matched.unsure.items()]
    lines += (f"  {line}" for line in _missing(resource, matched))
    if matched.left:
        as_metadata = "metadata" in resource.params
        lines.append(f"  # Columns that match no parameter; `dbt-stripe-sync fields {name}` lists them:")
        lines += [f"  # {_left(column, as_metadata=as_metadata)}" for column in matched.left]
    lines += _settings(name, matched)
    return lines


def _missing(resource: Resource, matched: Matched) -> Iterator[str]:
    """The parameters that Stripe requires and no column matches, each in the form that it accepts."""
    mapped = {path.partition(".")[0] for path in (*matched.fields, *matched.unsure)}
    groups = [*lifecycle_of(resource.name).needs_one_of, *((name,) for name in matched.missing)]
    for group in dict.fromkeys(groups):
        if mapped.isdisjoint(group):
            needed = " or ".join(f"`{other}`" for other in group)
            start = f"# {group[0]}: {_form(resource.params.get(group[0]), matched)}".rstrip()
            yield f"{start}  # Stripe requires {needed}"


def _form(param: Param | None, matched: Matched) -> str:
    """How to map a list of hashes, or a hash."""
    if param is None:
        return ""
    if param.kind is ParamKind.LIST and param.item is not None and param.item.kind is ParamKind.HASH:
        return f'{{model: MODEL_OF_ITEMS, "on": {_names(matched.key)}, fields: {{…}}}}'
    required = [part.name for part in (param.fields or {}).values() if part.required]
    return "{" + ", ".join(f"{part}: COLUMN" for part in required) + "}" if required else ""


def read_snippet(resource: Resource, matched: Matched) -> dict[str, object]:
    """The same as values, to check them before anything is written."""
    key = matched.key[0] if len(matched.key) == 1 else list(matched.key)
    return {"resource": resource.name, "key": key, "fields": dict(matched.fields)}


def _settings(resource: str, matched: Matched) -> Iterator[str]:
    lifecycle = lifecycle_of(resource)
    found_by = [path for path in matched.fields if path.partition(".")[0] in lifecycle.found_by]
    if found_by and lifecycle.listed:
        yield f"# match: [{', '.join(found_by[:2])}]  # adopt what is in Stripe already"
    if lifecycle.on_removed:
        ways = ", ".join(removal.value for removal in lifecycle.on_removed)
        yield f"# on_removed: ignore  # or {ways}: what happens to the object once its row is gone"


def _left(column: str, *, as_metadata: bool) -> str:
    return f"metadata.{column.lower()}: {yaml_scalar(column)}" if as_metadata else yaml_scalar(column)


def _value(value: str | Mapping[str, str]) -> str:
    if isinstance(value, str):
        return yaml_scalar(value)
    return "{" + ", ".join(f"{name}: {yaml_scalar(part)}" for name, part in value.items()) + "}"


def _names(names: tuple[str, ...]) -> str:
    return yaml_scalar(names[0]) if len(names) == 1 else f"[{', '.join(map(yaml_scalar, names))}]"


def yaml_scalar(text: str) -> str:
    """A text for YAML 1.1, quoted if necessary."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else json.dumps(text)
