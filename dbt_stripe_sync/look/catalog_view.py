"""Lists the catalog for `fields`: every resource, or every parameter of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.errors import ConfigError, Problem
from dbt_stripe_sync.model.params import ParamKind, immutable_parts
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of, read_catalog

if TYPE_CHECKING:
    from dbt_stripe_sync.model.params import Param


def list_resources() -> list[dict[str, Any]]:
    """Every resource with what a sync may do to it."""
    return [_resource_row(name) for name in read_catalog().names()]


def list_fields(name: str, path: str | None) -> list[dict[str, Any]]:
    """The parameters of a resource, or those inside one of its hashes. Raises `ConfigError`."""
    catalog = read_catalog()
    resource = catalog.resource(name)
    if resource is None:
        reason = catalog.why_not(name)
        if reason is not None:
            hint = "`dbt-stripe-sync fields` lists what can be synced"
            raise ConfigError(
                Problem(code="refused-resource", summary=f"`{name}` can't be synced: {reason}", hint=hint)
            )
        close = catalog.suggest(name)
        raise ConfigError(
            Problem(
                code="unknown-resource",
                summary=f"unknown Stripe resource `{name}`",
                hint=f"did you mean `{close}`?" if close else "`dbt-stripe-sync fields` lists them all",
            )
        )
    steps = tuple(path.split(".")) if path is not None else ()
    params = [resource.param(steps[: end + 1]) for end in range(len(steps))]
    is_fixed = any(param is not None and param.immutable for param in params)
    inner = resource.params if not params else params[-1].inner if params[-1] is not None else None
    if not inner:
        hint = f"{did_you_mean(path or '', resource.params)}it has {listed(resource.params)}"
        raise ConfigError(
            Problem(code="unknown-parameter", summary=f"`{name}` has nothing inside a parameter `{path}`", hint=hint)
        )
    is_map = bool(params) and params[-1] is not None and params[-1].kind is ParamKind.MAP
    above = (*steps, "*") if is_map else steps
    return [
        _param_row(param, is_fixed=is_fixed, once=resource.lifecycle.set_once_from((*above, param.name)))
        for param in inner.values()
    ]


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


def _param_row(param: Param, *, is_fixed: bool, once: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "name": param.name,
        "type": _type_of(param),
        "required": param.required,
        "immutable": param.immutable or is_fixed,
        "immutable_parts": [".".join(path) for path in immutable_parts(param)],
        "set_once": bool(once),
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
