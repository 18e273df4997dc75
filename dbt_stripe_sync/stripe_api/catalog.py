"""The catalog: every Stripe resource that the SDK can create, with its operations and typed parameters.

Nothing in it is written by hand. A resource is a service of `StripeClient.v1` with a `create` method. Its parameters'
names, types and requirements come from the SDK's typed dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.params import Operation, Param, ParamKind, has_early_words, has_update_only_parts
from dbt_stripe_sync.stripe_api.refusals import REFUSED_V2
from dbt_stripe_sync.stripe_api.resource_lifecycle import build_lifecycle
from dbt_stripe_sync.stripe_api.sdk import (
    V1_SERVICES,
    method_names,
    read_methods,
    read_returned,
    service_modules,
    subservices,
)
from dbt_stripe_sync.stripe_api.sdk_params import merge_params, read_params

if TYPE_CHECKING:
    from dbt_stripe_sync.model.lifecycle import Lifecycle
    from dbt_stripe_sync.model.violation import Violation
    from dbt_stripe_sync.stripe_api.sdk import MethodSource

# Options of the request, not of the object.
_NO_PARAMETERS = frozenset({"expand"})
# Helpers for testing an integration aren't resources.
_NO_RESOURCES = ("test_helpers",)


class Resource:
    """A kind of object. `name` is the user's (`customer.tax_id`), `service` is the SDK's (`customers.tax_ids`)."""

    def __init__(self, name: str, service: str, module: str) -> None:
        self.name = name
        self.service = service
        self._module = module

    def __repr__(self) -> str:
        return f"Resource({self.name!r})"

    @cached_property
    def operations(self) -> Mapping[str, Operation]:
        """Every operation, by its method's name in the SDK.

        Each is read on demand, because most runs need two of seven.
        """
        return _Operations(read_methods(self._module))

    @cached_property
    def params(self) -> Mapping[str, Param]:
        """Every parameter of creation and updates, after those in the URL."""
        create, update = self.operations.get("create"), self.operations.get("update")
        in_path = {
            name: Param(name=name, kind=ParamKind.STRING, required=True, updatable=False, in_path=True)
            for name in (create.path_params if create else ())
        }
        return {**in_path, **merge_params(create.params if create else {}, update.params if update else None)}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The parameters that creation requires."""
        return tuple(name for name, param in self.params.items() if param.creatable and param.required)

    @cached_property
    def early(self) -> frozenset[str]:
        """The creation parameters that may contain keywords which only an update accepts."""
        return frozenset(name for name, param in self.params.items() if param.creatable and has_early_words(param))

    @cached_property
    def partly_creatable(self) -> frozenset[str]:
        """The creation parameters with parts that only an update accepts."""
        return frozenset(
            name for name, param in self.params.items() if param.creatable and has_update_only_parts(param)
        )

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle of the resource's objects: what the types can't express."""
        return build_lifecycle(self)

    @property
    def description(self) -> str:
        """What creation does, in Stripe's words."""
        create = self.operations.get("create")
        return create.description if create else ""

    def operation(self, name: str) -> Operation | None:
        """Return an operation, or None if the resource lacks it."""
        return self.operations.get(name)

    def broken_rules(
        self,
        operation: str,
        params: Mapping[str, Any],
        *,
        now: int | None = None,
        known: Mapping[str, Any] | None = None,
        whole: bool | None = None,
        skips_limits: bool = False,
    ) -> Iterator[Violation]:
        """Yield the documented rules of Stripe that a call's parameters break.

        Times are checked only if `now` is given, in Unix seconds. `skips_limits` leaves out the limits of single
        values, in case they were checked before.
        """
        return _check_rules()(self, operation, params, now=now, known=known, whole=whole, skips_limits=skips_limits)

    def param(self, path: tuple[str, ...]) -> Param | None:
        """Return the parameter at a path, or None. A map has any key, and a list stands for its items."""
        param = self.params.get(path[0]) if path else None
        for step in path[1:]:
            if param is not None and param.kind is ParamKind.LIST:
                param = param.item
            if param is None:
                return None
            param = param.values if param.kind is ParamKind.MAP else (param.fields or {}).get(step)
        return param


@cache
def _check_rules() -> Callable[..., Iterator[Violation]]:
    from dbt_stripe_sync.stripe_api.rules.checking import check_rules  # most runs don't need it

    return check_rules


# The clocks that objects in test mode can have. They are only listed, so they aren't a resource that syncs can write.
TEST_CLOCK = Resource("test_helpers.test_clock", "test_helpers.test_clocks", "stripe.test_helpers._test_clock_service")
# What a meter has counted. This is only listed, too.
EVENT_SUMMARY = Resource(
    "billing.meter_event_summary", "billing.meters.event_summaries", "stripe.billing._meter_event_summary_service"
)
ONLY_LISTED = {resource.name: resource for resource in (TEST_CLOCK, EVENT_SUMMARY)}


class Catalog:
    """All resources by name, each read on demand."""

    def resource(self, name: str) -> Resource | None:
        """Return a resource by its name, its plural, or Stripe's spelling (`invoiceitem`), or None."""
        return _resource(name) or _resource(_aliases().get(_folded(name), ""))

    def names(self) -> tuple[str, ...]:
        """Return the names of all resources in alphabetical order."""
        return tuple(sorted(_names()))

    @property
    def resources(self) -> Mapping[str, Resource]:
        """All resources by name, each read on demand."""
        return _Resources()

    def why_not(self, name: str) -> str | None:
        """Return why a resource that exists only in API v2 can't be synced, or None for any other name."""
        written = name.lower().strip()
        return REFUSED_V2.get(written) or REFUSED_V2.get(written.removesuffix("s"))

    def suggest(self, name: str) -> str | None:
        """Return the resource that was probably meant, by its whole name or its last part, or None."""
        known = self.resource(name)
        if known is not None:
            return known.name
        spellings = {short.rpartition(".")[2]: short for short in reversed(self.names())}
        spellings |= {name: name for name in self.names()}
        close = get_close_matches(name.lower(), spellings, n=1)
        return spellings[close[0]] if close else None


class _Operations(Mapping[str, Operation]):
    def __init__(self, methods: Mapping[str, MethodSource]) -> None:
        self._methods = methods
        self._built: dict[str, Operation] = {}

    def __getitem__(self, name: str) -> Operation:
        if name not in self._built:
            self._built[name] = _build_operation(self._methods[name])
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in self._methods

    def __iter__(self) -> Iterator[str]:
        return iter(self._methods)

    def __len__(self) -> int:
        return len(self._methods)


class _Resources(Mapping[str, Resource]):
    def __getitem__(self, name: str) -> Resource:
        resource = _resource(name)
        if resource is None:
            raise KeyError(name)
        return resource

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(_names()))

    def __len__(self) -> int:
        return len(_names())


@lru_cache(maxsize=1)
def read_catalog() -> Catalog:
    """Return the catalog of the installed SDK."""
    return Catalog()


def lifecycle_of(name: str) -> Lifecycle:
    """Return the lifecycle of a resource. Raises `KeyError` for an unknown resource."""
    return read_catalog().resources[name].lifecycle


@cache
def _resource(name: str) -> Resource | None:
    """Return the resource with a name. Reads only the services on the path to it: three files of some two hundred."""
    service, module = "", V1_SERVICES
    for step in name.split("."):
        below = (
            (part, submodule)
            for part, submodule in subservices(module).items()
            if step in (part, _singular(part)) and _named(part, submodule) == step
        )
        part, module = next(below, ("", ""))
        if not module:
            return None
        service += f".{part}" if service else part
    return Resource(name, service, module) if _is_resource(service, module) else None


@lru_cache(maxsize=1)
def _names() -> Mapping[str, str]:
    services = service_modules()
    return {
        _name_of(service, services): service for service, module in services.items() if _is_resource(service, module)
    }


def _is_resource(service: str, module: str) -> bool:
    return "create" in method_names(module) and not service.startswith(_NO_RESOURCES)


def _name_of(service: str, services: Mapping[str, str]) -> str:
    """Return the resource name of a service: `customers.tax_ids` becomes `customer.tax_id`."""
    steps = service.split(".")
    prefixes = [".".join(steps[: index + 1]) for index in range(len(steps))]
    return ".".join(_named(step, services[prefix]) for step, prefix in zip(steps, prefixes, strict=True))


def _named(part: str, module: str) -> str:
    """Return a service's name in the singular; a namespace such as `entitlements` keeps its name."""
    return _singular(part) if method_names(module) else part


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us")) else word


@lru_cache(maxsize=1)
def _aliases() -> Mapping[str, str]:
    return {_folded(spelling): name for name, service in _names().items() for spelling in (name, service)}


def _folded(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _build_operation(method: MethodSource) -> Operation:
    params: Mapping[str, Param] = {}
    if method.params_module is not None and method.params_class is not None:
        params = read_params(method.params_module, method.params_class)
    return Operation(
        name=method.name,
        method=method.http_method,
        path=method.path,
        path_params=method.path_params,
        params={name: param for name, param in params.items() if name not in _NO_PARAMETERS},
        description=method.description,
        returned=read_returned(method),
    )
