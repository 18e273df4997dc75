"""The emptiest possible object of each kind, from the SDK's typed response classes."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

from stripe import StripeObject
from stripe._object_classes import OBJECT_CLASSES

__all__ = ["OBJECT_CLASSES", "PLAIN", "annotations_of", "blank_of", "field_names", "object_class"]

_MAX_DEPTH = 4
# The types of plain values, with the emptiest value of each.
PLAIN: dict[Any, Any] = {Decimal: "0", str: "", int: 0, float: 0.0, bool: False}


def object_class(name: str) -> type[Any] | None:
    """Return the SDK's class of an object (`billing.meter`), or None for an unknown object."""
    found = OBJECT_CLASSES.get(name)
    if found is None:
        return None
    module, class_name = found
    return getattr(__import__(module, fromlist=[class_name]), class_name, None)


@cache
def blank_of(name: str) -> dict[str, Any]:
    """Return the fields that an object always has, each with its type's emptiest value. Copy the result before use."""
    cls = object_class(name)
    return {} if cls is None else _blank(cls, 0)


@cache
def field_names(name: str) -> frozenset[str]:
    """Return the names of all fields that an object can have."""
    cls = object_class(name)
    return frozenset() if cls is None else frozenset(annotations_of(cls))


def annotations_of(cls: type[Any]) -> dict[str, Any]:
    """Return the type of each field of a response class."""
    return {
        key: hint for key, hint in vars(cls).get("__annotations__", {}).items() if not key.startswith(("_", "OBJECT"))
    }


def _blank(cls: type[Any], depth: int) -> dict[str, Any]:
    return {
        key: _value(hint, depth)
        for key, hint in annotations_of(cls).items()
        if not _optional(hint) and key not in {"id", "object", "deleted"}
    }


def _optional(hint: Any) -> bool:
    return get_origin(hint) is Union and type(None) in get_args(hint)


def _value(hint: Any, depth: int) -> Any:
    if hint in PLAIN:
        return PLAIN[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return args[0]
    if origin is Union:
        return _value(args[0], depth)
    if origin is list:
        return []
    if isinstance(hint, ForwardRef):
        return ""
    if origin is not None and getattr(origin, "__name__", "") == "ListObject":
        return {"object": "list", "data": [], "has_more": False, "url": ""}
    if isinstance(hint, type) and issubclass(hint, StripeObject) and depth < _MAX_DEPTH:
        return _blank(hint, depth + 1)
    return {}
