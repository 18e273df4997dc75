"""Finds out which paths of an object `expand` accepts, from the SDK's typed response classes."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from importlib import import_module
from types import NoneType
from typing import TYPE_CHECKING, Any, ForwardRef, Literal, Union, get_args, get_origin

from stripe import StripeObject

from dbt_stripe_sync.stripe_api.sdk_shapes import PLAIN, annotations_of, object_class

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def can_expand(name: str, path: tuple[str, ...]) -> bool:
    """Return whether a path of an object can be expanded, so isn't a plain value. True if the types don't say."""
    found = object_class(name)
    return found is None or _is_expandable(found, found.__module__, path)


def _is_expandable(hint: Any, module: str, path: tuple[str, ...]) -> bool:
    """Return whether the value at a path inside a type can be an object."""
    if hint in PLAIN or hint is NoneType or get_origin(hint) is Literal:
        return False
    if isinstance(hint, ForwardRef):
        found = _resolve(module, hint.__forward_arg__)
        return found is None or _is_expandable(found, found.__module__, path)
    if isinstance(hint, type) and issubclass(hint, StripeObject):
        inner = annotations_of(hint).get(path[0]) if path else hint
        return inner is hint or (inner is not None and _is_expandable(inner, hint.__module__, path[1:]))
    return _is_expandable_inside(hint, module, path)


def _is_expandable_inside(hint: Any, module: str, path: tuple[str, ...]) -> bool:
    """Return the same for unions, lists and maps. Other types can't be followed, so they count as objects."""
    origin, kinds = get_origin(hint), get_args(hint)
    named = getattr(origin, "__name__", "")
    if origin is Union:
        return any(_is_expandable(kind, module, path) for kind in kinds)
    if named == "ListObject":
        return not path or (path[0] == "data" and _is_expandable(kinds[0], module, path[1:]))
    if named == "UntypedStripeObject":
        return _is_expandable(kinds[0], module, path[1:])
    return _is_expandable(kinds[0], module, path) if origin is list else True


def _resolve(module: str, name: str) -> type[Any] | None:
    """Return the class that a name means in a module, or None."""
    first, *rest = name.split(".")
    found: Any = getattr(sys.modules[module], first, None)
    if found is None and first in _imported(module):
        source, original = _imported(module)[first]
        found = getattr(import_module(source), original, None)
    for step in rest:
        found = getattr(found, step, None)
    return found if isinstance(found, type) else None


@cache
def _imported(module: str) -> Mapping[str, tuple[str, str]]:
    """Return what a module imports for its type annotations, by the name that it uses."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }
