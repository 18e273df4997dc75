"""The catalogue as rows, for `fields`: every resource, or every parameter of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.errors import ConfigError, Problem
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of, read_catalog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.params import Param


def list_resources() -> list[dict[str, Any]]:
    """Every resource with what a sync may do to it."""
    return [_resource_row(name) for name in read_catalog().names()]


def list_fields(name: str, path: str | None) -> list[dict[str, Any]]:
    """The parameters of a resource, or those inside one of its hashes. Raises `ConfigError`."""
    catalog = read_catalog()
    resource = catalog.resource(name)
    if resource is None:
        close = catalog.suggest(name)
        raise ConfigError(
            Problem(
                code="unknown-resource",
                summary=f"Stripe has no resource `{name}`",
                hint=f"did you mean `{close}`?" if close else "`dbt-stripe-sync fields` lists them all",
            )
        )
    if path is None:
        return [_param_row(param) for param in resource.params.values()]
    param = resource.param(tuple(path.split(".")))
    inner = _inside(param) if param is not None else None
    if inner is None:
        hint = f"it has {listed(resource.params)}{did_you_mean(path, resource.params)}"
        raise ConfigError(
            Problem(code="unknown-parameter", summary=f"`{name}` has nothing inside a parameter `{path}`", hint=hint)
        )
    return [_param_row(field) for field in inner.values()]


def _inside(param: Param) -> Mapping[str, Param] | None:
    if param.kind is ParamKind.LIST and param.item is not None:
        return _inside(param.item)
    if param.kind is ParamKind.MAP and param.values is not None:
        return _inside(param.values)
    return param.fields


def _resource_row(name: str) -> dict[str, Any]:
    lifecycle = lifecycle_of(name)
    if lifecycle.refused is not None:
        return {"resource": name, "modes": [], "match": [], "on_removed": [], "refused": lifecycle.refused}
    return {
        "resource": name,
        "modes": sorted(mode.value for mode in lifecycle.modes),
        "match": list(lifecycle.found_by),
        "on_removed": [removal.value for removal in lifecycle.on_removed],
    }


def _param_row(param: Param) -> dict[str, Any]:
    return {
        "name": param.name,
        "type": _type_of(param),
        "required": param.required,
        "immutable": param.immutable,
        "clearable": param.clearable,
        "values": list(param.enum),
        "description": param.description,
    }


def _type_of(param: Param) -> str:
    if param.kind is ParamKind.LIST and param.item is not None:
        return f"list of {param.item.kind.value}"
    if param.kind is ParamKind.MAP and param.values is not None:
        return f"map of {param.values.kind.value}"
    return param.kind.value
