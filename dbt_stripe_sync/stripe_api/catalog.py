"""The catalogue: every Stripe resource that the SDK can create, with its operations and typed parameters.

Nothing in it is written by hand: a resource is a service of `StripeClient.v1` with a `create` method, and what its
parameters are called, take and require is what the SDK's typed dicts say.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING

from dbt_stripe_sync.stripe_api.sdk import method_names, read_methods, read_typed_dicts, service_modules

if TYPE_CHECKING:
    from dbt_stripe_sync.stripe_api.sdk import FieldSource, MethodSource

# Options of the request, not of the object.
_NO_PARAMETERS = frozenset({"expand"})
# The types mark `''` beside all that is no plain text, and beside newer texts. Any other text takes it too: that is how
# a customer's `email` or a price's `nickname` is emptied, unless creation requires it (`parameter_invalid_empty` of
# docs.stripe.com/error-codes is for those).
_UPDATES = "_update_params"
# Helpers for tests of an integration are no resources.
_NO_RESOURCES = ("test_helpers",)


class ParamKind(Enum):
    """What a parameter takes. `NUMBER` is a decimal, sent as text; `MAP` has names that the user chooses."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ENUM = "enum"
    HASH = "hash"
    LIST = "list"
    MAP = "map"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter.

    `enum` lists the words that it takes; on an `INTEGER` they stand beside numbers (`trial_end: now`). `required` is
    what creation asks for, `clearable` says that an update takes `''`, `immutable` that creation alone takes it.
    `in_path` marks a parameter that stands in the URL. `item` is a list's, `fields` a hash's, `values` a map's.
    """

    name: str
    kind: ParamKind
    required: bool = False
    creatable: bool = True
    updatable: bool = True
    clearable: bool = False
    in_path: bool = False
    enum: tuple[str, ...] = ()
    item: Param | None = None
    fields: Mapping[str, Param] | None = None
    values: Param | None = None
    description: str = ""

    @property
    def immutable(self) -> bool:
        """Whether the parameter is fixed once the object exists."""
        return self.creatable and not self.updatable


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of a resource: `path` has its `path_params` in braces."""

    name: str
    method: str
    path: str
    path_params: tuple[str, ...]
    params: Mapping[str, Param]
    description: str = ""


class Resource:
    """A kind of object. `name` is the user's (`customer.tax_id`), `service` the SDK's (`customers.tax_ids`)."""

    def __init__(self, name: str, service: str) -> None:
        self.name = name
        self.service = service

    def __repr__(self) -> str:
        return f"Resource({self.name!r})"

    @cached_property
    def operations(self) -> Mapping[str, Operation]:
        """Every operation by the name of its method in the SDK."""
        methods = read_methods(service_modules()[self.service])
        return {name: _build_operation(method) for name, method in methods.items()}

    @cached_property
    def params(self) -> Mapping[str, Param]:
        """Every parameter of creation and of updates; those of the URL come first."""
        create, update = self.operations.get("create"), self.operations.get("update")
        in_path = {
            name: Param(name=name, kind=ParamKind.STRING, required=True, updatable=False, in_path=True)
            for name in (create.path_params if create else ())
        }
        return {**in_path, **_merge(create.params if create else {}, update.params if update else None)}

    @property
    def description(self) -> str:
        """What creation does, in Stripe's words."""
        create = self.operations.get("create")
        return create.description if create else ""

    def operation(self, name: str) -> Operation | None:
        """One operation, None where the resource lacks it."""
        return self.operations.get(name)

    def param(self, path: tuple[str, ...]) -> Param | None:
        """The parameter at a dotted path; a map takes any name, a list is passed through to its items."""
        param = self.params.get(path[0]) if path else None
        for step in path[1:]:
            if param is not None and param.kind is ParamKind.LIST:
                param = param.item
            if param is None:
                return None
            param = param.values if param.kind is ParamKind.MAP else (param.fields or {}).get(step)
        return param


class Catalog:
    """All resources by name. One is read when it is asked for."""

    def resource(self, name: str) -> Resource | None:
        """A resource by its name, its plural, or Stripe's own spelling (`invoiceitem`); None where there is none."""
        known = _names()
        return _resource(name if name in known else _aliases().get(_folded(name), ""))

    def names(self) -> tuple[str, ...]:
        """Every resource's name, in alphabetical order."""
        return tuple(sorted(_names()))

    @property
    def resources(self) -> Mapping[str, Resource]:
        """Every resource, read as it is asked for."""
        return _Resources()

    def suggest(self, name: str) -> str | None:
        """The resource that was probably meant, by its whole name or by the last part of it."""
        known = self.resource(name)
        if known is not None:
            return known.name
        spellings = {short.rpartition(".")[2]: short for short in reversed(self.names())}
        spellings |= {name: name for name in self.names()}
        close = get_close_matches(name.lower(), spellings, n=1)
        return spellings[close[0]] if close else None


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
    """The catalogue of the installed SDK."""
    return Catalog()


@cache
def _resource(name: str) -> Resource | None:
    service = _names().get(name)
    return Resource(name, service) if service is not None else None


@lru_cache(maxsize=1)
def _names() -> Mapping[str, str]:
    services = service_modules()
    return {
        _name_of(service, services): service
        for service, module in services.items()
        if "create" in method_names(module) and not service.startswith(_NO_RESOURCES)
    }


def _name_of(service: str, services: Mapping[str, str]) -> str:
    """`customers.tax_ids` is `customer.tax_id`; a namespace such as `entitlements` keeps its name."""
    steps = service.split(".")
    prefixes = [".".join(steps[: index + 1]) for index in range(len(steps))]
    return ".".join(
        _singular(step) if method_names(services[prefix]) else step
        for step, prefix in zip(steps, prefixes, strict=True)
    )


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us")) else word


@lru_cache(maxsize=1)
def _aliases() -> Mapping[str, str]:
    return {_folded(spelling): name for name, service in _names().items() for spelling in (name, service)}


def _folded(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


# ── typed dicts to parameters ────────────────────────────────────────────────────────────────────────────────────


def _build_operation(method: MethodSource) -> Operation:
    params: Mapping[str, Param] = {}
    if method.params_module is not None and method.params_class is not None:
        params = _hash_fields(method.params_module, method.params_class)
    return Operation(
        name=method.name,
        method=method.http_method,
        path=method.path,
        path_params=method.path_params,
        params={name: param for name, param in params.items() if name not in _NO_PARAMETERS},
        description=method.description,
    )


@cache
def _hash_fields(module: str, name: str) -> Mapping[str, Param]:
    return {field.name: _build_param(module, field) for field in read_typed_dicts(module).get(name, ())}


def _build_param(module: str, field: FieldSource) -> Param:
    annotation, required = field.annotation, True
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if _generic(annotation) == "NotRequired":
        annotation, required = _arguments(annotation)[0], False
    param = _parse_type(module, field.name, annotation)
    clearable = param.clearable or (module.endswith(_UPDATES) and param.kind is ParamKind.STRING and not required)
    return replace(param, required=required, clearable=clearable, description=field.description)


def _parse_type(module: str, name: str, annotation: ast.expr) -> Param:
    members = list(_members(annotation))
    words = [word for member in members for word in _words(member)]
    clearable = "" in words or any(_is_none(member) for member in members)
    enum = tuple(word for word in words if word)
    types = [member for member in members if not _words(member) and not _is_none(member)]
    return replace(_kind_of(module, name, types, enum), clearable=clearable, enum=enum)


def _kind_of(module: str, name: str, types: list[ast.expr], enum: tuple[str, ...]) -> Param:
    """The parameter that a union of types makes; words beside `str` are an enum that Stripe may add to."""
    typed_dicts = read_typed_dicts(module)
    for member in types:
        generic = _generic(member)
        if generic == "List":
            return Param(name=name, kind=ParamKind.LIST, item=_parse_type(module, name, _arguments(member)[0]))
        if generic == "Dict":
            return Param(name=name, kind=ParamKind.MAP, values=_parse_type(module, name, _arguments(member)[1]))
        if isinstance(member, ast.Name) and member.id in typed_dicts:
            return Param(name=name, kind=ParamKind.HASH, fields=_hash_fields(module, member.id))
    names = {member.id for member in types if isinstance(member, ast.Name)}
    for kind, wanted in _SCALARS:
        if names & wanted:
            return Param(name=name, kind=kind)
    if enum:
        return Param(name=name, kind=ParamKind.ENUM)
    return Param(name=name, kind=ParamKind.STRING if "str" in names or not names else ParamKind.ANY)


_SCALARS = (
    (ParamKind.INTEGER, {"int"}),
    (ParamKind.NUMBER, {"Decimal", "float"}),
    (ParamKind.BOOLEAN, {"bool"}),
    (ParamKind.ANY, {"Any"}),
)


def _members(annotation: ast.expr) -> Iterator[ast.expr]:
    """The members of a union, however it is written."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        yield from _members(ast.parse(annotation.value, mode="eval").body)
    elif isinstance(annotation, ast.BinOp):
        yield from _members(annotation.left)
        yield from _members(annotation.right)
    elif _generic(annotation) in {"Union", "Optional", "NotRequired"}:
        for argument in _arguments(annotation):
            yield from _members(argument)
    elif _generic(annotation) != "UntypedStripeObject":
        yield annotation


def _generic(annotation: ast.expr) -> str | None:
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Name):
        return annotation.value.id
    return None


def _arguments(annotation: ast.expr) -> list[ast.expr]:
    if not isinstance(annotation, ast.Subscript):
        return []
    inner = annotation.slice
    return list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]


def _words(member: ast.expr) -> list[str]:
    if _generic(member) != "Literal":
        return []
    return [str(argument.value) for argument in _arguments(member) if isinstance(argument, ast.Constant)]


def _is_none(member: ast.expr) -> bool:
    return isinstance(member, ast.Constant) and member.value is None


# ── creation and updates as one ──────────────────────────────────────────────────────────────────────────────────


def _merge(create: Mapping[str, Param], update: Mapping[str, Param] | None) -> dict[str, Param]:
    """Parameters of both: what creation requires, what updates can clear, what only one of them takes.

    Where there is no update at all, nothing can be changed.
    """
    later = update or {}
    merged: dict[str, Param] = {}
    for name in dict.fromkeys([*create, *later]):
        first, then = create.get(name), later.get(name)
        if first is None and then is not None:
            merged[name] = replace(then, required=False, creatable=False)
        elif first is not None:
            merged[name] = _merge_param(first, then)
    return merged


def _merge_param(first: Param, then: Param | None) -> Param:
    if then is None or first.kind is not then.kind:
        # A subscription's `billing_cycle_anchor` is a time at first and a hash of orders later: not the same thing.
        return replace(first, updatable=False, clearable=False)
    fields = _merge(first.fields, then.fields) if first.fields is not None and then.fields is not None else None
    item = _merge_param(first.item, then.item) if first.item is not None and then.item is not None else None
    values = _merge_param(first.values, then.values) if first.values is not None and then.values is not None else None
    return replace(
        first,
        clearable=then.clearable and not (first.required and then.kind is ParamKind.STRING),
        enum=tuple(dict.fromkeys([*first.enum, *then.enum])),
        fields=fields if fields is not None else first.fields or then.fields,
        item=item or first.item or then.item,
        values=values or first.values or then.values,
    )
