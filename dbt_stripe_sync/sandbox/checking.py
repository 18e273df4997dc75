"""Checks parameters against the catalog: turns a form's text into typed values, or raises Stripe's error."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, TypeAlias

from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.sandbox.errors import ApiError, bad_request
from dbt_stripe_sync.sandbox.forms import as_lists

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.model.params import Param

Parser: TypeAlias = Callable[[str, Any], Any]
"""Turns a raw value into a typed one, given the parameter's full name. Raises `ApiError`."""

_INTEGER = re.compile(r"-?[0-9]+\Z")
# `created` and similar parameters accept a single time as well as a range.
_RANGE = frozenset({"gt", "gte", "lt", "lte"})
# Parameters that accept an object's id or its description; the catalog only has the latter.
_ID_OR_HASH = frozenset({"product", "external_account", "card"})
_BOOLEANS = {"true": True, "false": False}


class Checker:
    """Checks the parameters of one operation. Its parsers are built on the first call."""

    def __init__(self, params: Mapping[str, Param]) -> None:
        self._params = params
        self._parsers: dict[str, Parser] | None = None
        self._required: tuple[str, ...] = ()

    def check(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the typed parameters, without `expand`. Raises `ApiError` for the first invalid one."""
        if self._parsers is None:
            params = self._params
            self._parsers = {name: _parser(param) for name, param in params.items()}
            self._required = tuple(name for name, param in params.items() if param.required)
        return _fields("", raw, self._parsers, self._required)


class Unchecked:
    """Accepts any parameters as text, for operations that the catalog lacks."""

    def check(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters, without `expand`."""
        return {name: as_lists(value) for name, value in raw.items() if name != "expand"}


def _fields(prefix: str, raw: dict[str, Any], parsers: Mapping[str, Parser], required: Sequence[str]) -> dict[str, Any]:
    typed: dict[str, Any] = {}
    unknown = [name for name in raw if name not in parsers and (prefix or name != "expand")]
    if unknown:
        names = [_join(prefix, name) for name in unknown]
        plural = "s" if len(names) > 1 else ""
        raise bad_request(f"Received unknown parameter{plural}: {', '.join(names)}", names[0], "parameter_unknown")
    for name in required:
        if name not in raw:
            full = _join(prefix, name)
            raise bad_request(f"Missing required param: {full}.", full, "parameter_missing")
    for name, value in raw.items():
        if name in parsers:
            typed[name] = parsers[name](_join(prefix, name), value)
    return typed


def _join(prefix: str, name: str) -> str:
    return f"{prefix}[{name}]" if prefix else name


def _parser(param: Param) -> Parser:
    parse = _by_kind(param)

    def parse_or_clear(name: str, value: Any) -> Any:
        # A guess: `clearing`.
        if value == "":
            if param.clearable:
                return ""
            raise _empty(name)
        return parse(name, value)

    return parse_or_clear


def _by_kind(param: Param) -> Parser:
    compound = _COMPOUND.get(param.kind)
    if compound is not None:
        return compound(param)
    parse = _SCALARS.get(param.kind, _string)
    return _enum_parser(param.enum, parse) if param.enum else parse


def _enum_parser(words: tuple[str, ...], parse: Parser) -> Parser:
    def parse_enum(name: str, value: Any) -> Any:
        if isinstance(value, str) and value in words:
            return value
        if parse is not _string:
            return parse(name, value)
        raise bad_request(f"Invalid {name}: must be one of {_one_of(words)}", name)

    return parse_enum


def _hash_parser(param: Param) -> Parser:
    parsers: dict[str, Parser] = {}
    required: list[str] = []

    def parse_hash(name: str, value: Any) -> Any:
        if not parsers and param.fields:
            parsers.update({field: _parser(p) for field, p in param.fields.items()})
            required.extend(field for field, p in param.fields.items() if p.required)
        if isinstance(value, dict):
            return _fields(name, value, parsers, required)
        if parsers.keys() == _RANGE:
            return _integer(name, value)
        if param.name in _ID_OR_HASH:
            return value
        raise bad_request("Invalid object", name)

    return parse_hash


def _list_parser(param: Param) -> Parser:
    item = _parser(param.item) if param.item is not None else _string

    def parse_list(name: str, value: Any) -> Any:
        if not isinstance(value, dict) or not all(key.isdigit() for key in value):
            raise bad_request("Invalid array", name)
        return [item(f"{name}[{key}]", entry) for key, entry in value.items()]

    return parse_list


def _map_parser(param: Param) -> Parser:
    # An empty value removes a key (docs.stripe.com/api/metadata), so a map of strings always accepts it.
    item = _by_kind(param.values) if param.values is not None else _string
    removable = param.values is None or param.values.kind is not ParamKind.HASH

    def parse_map(name: str, value: Any) -> Any:
        if not isinstance(value, dict):
            raise bad_request("Invalid object", name)
        return {
            key: entry if entry == "" and removable else item(f"{name}[{key}]", entry) for key, entry in value.items()
        }

    return parse_map


def _string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise bad_request(f"Invalid string: {value}", name)
    return value


def _integer(name: str, value: Any) -> int:
    if not isinstance(value, str) or not _INTEGER.match(value):
        raise bad_request(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, str) or value not in _BOOLEANS:
        raise bad_request(f"Invalid boolean: {value}", name)
    return _BOOLEANS[value]


def _number(name: str, value: Any) -> str | float:
    try:
        exact = Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        exact = Decimal("nan")
    if not exact.is_finite():
        raise bad_request(f"Invalid decimal: {value}", name)
    # Exact amounts (`unit_amount_decimal`) are strings in Stripe's answers, too; percentages and measures are numbers.
    return str(value) if "_decimal" in name else float(value)


def _anything(_name: str, value: Any) -> Any:
    return as_lists(value)


_SCALARS: Mapping[ParamKind, Parser] = {
    ParamKind.INTEGER: _integer,
    ParamKind.NUMBER: _number,
    ParamKind.BOOLEAN: _boolean,
    ParamKind.ANY: _anything,
}


_COMPOUND: Mapping[ParamKind, Callable[[Param], Parser]] = {
    ParamKind.HASH: _hash_parser,
    ParamKind.LIST: _list_parser,
    ParamKind.MAP: _map_parser,
}


def _one_of(values: Any) -> str:
    names = [str(value) for value in values]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])}, or {names[-1]}"


def _empty(name: str) -> ApiError:
    return bad_request(
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; however "
        f"'{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty value.",
        name,
        "parameter_invalid_empty",
    )
