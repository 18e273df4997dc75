"""Converts the SDK's typed dicts into parameters, and merges those of creation and update."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.model.params import Param, ParamKind
from dbt_stripe_sync.stripe_api.sdk import read_typed_dicts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.stripe_api.sdk import FieldSource


# The types allow `''` for everything that isn't plain text, and for newer text parameters. Other texts accept it, too:
# that is how a customer's `email` or a price's `nickname` is cleared. The exception are texts that creation requires
# (`parameter_invalid_empty` in docs.stripe.com/error-codes).
_UPDATES = "_update_params"


@cache
def read_params(module: str, name: str) -> Mapping[str, Param]:
    """Return the parameters that a typed dict describes, including everything below them."""
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
    """Return the parameter for a union of types. Literals next to `str` are an enum that Stripe may extend."""
    typed_dicts = read_typed_dicts(module)
    for member in types:
        generic = _generic(member)
        if generic == "List":
            return Param(name=name, kind=ParamKind.LIST, item=_parse_type(module, name, _arguments(member)[0]))
        if generic == "Dict":
            return Param(name=name, kind=ParamKind.MAP, values=_parse_type(module, name, _arguments(member)[1]))
        if isinstance(member, ast.Name) and member.id in typed_dicts:
            return Param(name=name, kind=ParamKind.HASH, fields=read_params(module, member.id))
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
    """Yield the members of a union, in any notation."""
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


def merge_params(create: Mapping[str, Param], update: Mapping[str, Param] | None) -> dict[str, Param]:
    """Merge the parameters of creation and update, including which operation requires, accepts or can clear each.

    The same applies inside hashes, items of lists and values of maps. Without an update operation, nothing can be
    changed.
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
        # A subscription's `billing_cycle_anchor` is a time at creation and a keyword later: these are different
        # parameters.
        return replace(first, updatable=False, clearable=False)
    fields = merge_params(first.fields, then.fields) if first.fields is not None and then.fields is not None else None
    item = _merge_param(first.item, then.item) if first.item is not None and then.item is not None else None
    values = _merge_param(first.values, then.values) if first.values is not None and then.values is not None else None
    parts = (*(fields or {}).values(), *(part for part in (item, values) if part is not None))
    return replace(
        first,
        partly_immutable=any(part.immutable or part.partly_immutable for part in parts),
        clearable=then.clearable and not (first.required and then.kind is ParamKind.STRING),
        enum=tuple(dict.fromkeys([*first.enum, *then.enum])),
        update_words=tuple(word for word in then.enum if word not in first.enum),
        fields=fields if fields is not None else first.fields or then.fields,
        item=item or first.item or then.item,
        values=values or first.values or then.values,
    )
