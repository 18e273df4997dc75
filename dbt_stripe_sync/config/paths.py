"""Resolves names in YAML: the parameter at a path, and whether a mapping there has the fields of a hash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.params import ParamKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.model.errors import Location
    from dbt_stripe_sync.model.params import Param


# The settings of each kind of mapping, by the name that identifies the kind.
SHAPES: Mapping[str, frozenset[str]] = {
    "column": frozenset({"column", "as", "currency", "currency_column", "nulls"}),
    "template": frozenset({"template", "nulls"}),
    "value": frozenset({"value"}),
    "sync": frozenset({"sync", "key", "when_replaced", "nulls"}),
    "lookup": frozenset({"lookup", "by", "column", "nulls"}),
    "model": frozenset({"model", "on", "fields", "order_by", "nulls"}),
}


# YAML 1.1, which dbt 1.x uses, reads an unquoted `on` as true; JSON writes that as text.
YAML_ON = (True, "true")


def is_nested(value: Any, param: Param) -> bool:
    """Whether a mapping contains a hash's own fields, and isn't a kind of mapping itself.

    If a name is both (a hash with a field called `value`), it is a field if all the names are fields.
    """
    if not isinstance(value, dict) or param.kind not in {ParamKind.HASH, ParamKind.MAP}:
        return False
    if param.kind is ParamKind.MAP:
        return not is_shaped(value) or ("value" in value and not _is_constant_map(value["value"]))
    names = {str(name).split(".")[0] for name in value}
    fields = set(param.fields or {})
    return bool(names) and (names <= fields or not names & set(SHAPES))


def is_shaped(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping is of a known kind, with only the settings of that kind."""
    return any(kind in value and value.keys() <= allowed for kind, allowed in SHAPES.items())


def _is_constant_map(value: Any) -> bool:
    """Whether `{value: …}` is a kind of mapping; otherwise `value` is a field, as in a meter event's payload."""
    return isinstance(value, dict) and not is_shaped(value)


def find_param(params: Mapping[str, Param], path: tuple[str, ...], problems: Problems, where: Location) -> Param | None:
    """The parameter at a path; None if there is none, which is added to `problems`."""
    known: Mapping[str, Param] | None = params
    param: Param | None = None
    for index, step in enumerate(path):
        if param is not None and param.kind is ParamKind.MAP and step:
            param = param.values
            known = param.fields if param is not None else None
            continue
        param = known.get(step) if known is not None and step else None
        if param is None:
            inside = f" in `{'.'.join(path[:index])}`" if index else ""
            problems.add(
                "unknown-parameter",
                where,
                f"unknown parameter `{step}`{inside}",
                f"{did_you_mean(step, known)}it takes {listed(sorted(known))}"
                if known
                else "it has no nested parameters",
            )
            return None
        known = param.fields
    return param
