"""Converts a warehouse cell into the value of a Stripe parameter, checked against the parameter's type.

Decimals never pass through a float, and no message contains a value.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from dbt_stripe_sync.model.change import Ref
from dbt_stripe_sync.model.metadata import (
    METADATA_KEYS,
    METADATA_KEYS_OF_ROW,
    METADATA_NAME_CHARACTERS,
    METADATA_VALUE_CHARACTERS,
    MetadataLimit,
    find_excess,
)
from dbt_stripe_sync.model.nested import leaves
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.sync import Conversion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dbt_stripe_sync.model.params import Param

# About as many words as fit on a line of a terminal.
SHOWN_CHOICES = 12
# `as_text` formats times, because it converts them to UTC.
JSON_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
TRUE_TEXTS = frozenset({"true", "t", "yes", "1"})
FALSE_TEXTS = frozenset({"false", "f", "no", "0"})


class Unreadable:
    """Stands for a cell that Python can't represent, such as an infinite time. No parameter and no text accepts it."""

    def __str__(self) -> str:
        raise ValueError("no text")


# Hints for problems where the code that finds a bad value knows only the problem's code.
_HINTS = {
    "missing-parameter": "fill it in the model, or filter the row out",
    "not-a-boolean": "cast the column to boolean in the model",
    "not-a-hash": "map a struct or JSON column",
    "not-a-list": "map an array or JSON column",
    "not-a-number": "cast the column to a number in the model",
    "not-an-integer": "cast the column to a whole number in the model; for money, add `as: minor_units`",
    "not-text": "make it null or a finite number in the model",
    "template-too-large": "do the work in the model's SQL",
    "unknown-currency": "fill it in the model with a three-letter ISO code",
    "unknown-parameter": "`dbt-stripe-sync fields RESOURCE` lists the parameters",
}


class BadValueError(Exception):
    """A cell can't be the value of its parameter. `path` leads from the mapped parameter to the invalid part."""

    def __init__(self, code: str, reason: str, hint: str | None = None, path: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.hint = hint or _HINTS.get(code)
        self.path = path


def is_null(cell: Any) -> bool:
    """Whether a cell counts as null. Empty text does, because Stripe would clear the field."""
    return cell is None or cell == ""


def is_empty(value: Any) -> bool:
    """Whether a list or a hash is empty. Stripe's form encoding can't express that, so it counts as null."""
    return not value and isinstance(value, list | dict)


def convert(cell: Any, param: Param, conversion: Conversion | None = None) -> Any:
    """Convert a cell that is not null into a value of the parameter's type. Raises `BadValueError`."""
    is_text = isinstance(cell, str)
    if is_text and param.kind is ParamKind.STRING and conversion is None:
        return _text(cell, param)  # most cells by far
    if not is_text and isinstance(cell, Unreadable):
        hint = "make it null in the model, or a time before the year 10000"
        raise BadValueError("not-a-time", "is infinite, or too far in the past or future", hint)
    if is_text and cell in param.enum:
        return cell  # a keyword that is allowed besides another type, such as `now` for `trial_end`
    if conversion is Conversion.JSON or (is_text and param.kind in _FROM_JSON):
        cell = _from_json(cell)
    elif conversion is Conversion.UNIX_SECONDS:
        cell = _unix_seconds(cell)
    elif conversion is Conversion.TEXT:
        return as_text(cell)
    return _CONVERTERS[param.kind](cell, param)


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Check Stripe's limits on metadata. Raises `BadValueError` for the first one that is exceeded."""
    for excess in find_excess(metadata, most_keys=METADATA_KEYS_OF_ROW):
        count = excess.count
        if excess.limit is MetadataLimit.KEYS:
            raise BadValueError(
                "metadata-too-many-keys",
                f"has {count} keys, Stripe accepts {METADATA_KEYS}, and one is the `dbt_stripe_sync` tag",
                "map fewer keys, or put several into one",
            )
        if excess.limit is MetadataLimit.NAME:
            reason = f"has a key of {count} characters, Stripe accepts {METADATA_NAME_CHARACTERS}"
            raise BadValueError("metadata-name-too-long", reason, "use a shorter key")
        if excess.limit is MetadataLimit.VALUE:
            most = METADATA_VALUE_CHARACTERS
            raise BadValueError(
                "metadata-value-too-long",
                f"has {count} characters, Stripe accepts {most}",
                f"shorten it in the model, for example with left(…, {most})",
                (excess.name,),
            )


def _from_json(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    try:
        return orjson.loads(cell)
    except orjson.JSONDecodeError:
        raise BadValueError("not-json", "is not valid JSON", "map a JSON, struct or array column") from None


def _unix_seconds(cell: Any) -> int:
    # docs.stripe.com/api: times are whole seconds since the Unix epoch. By dbt's convention, a time without a zone is
    # UTC.
    if isinstance(cell, datetime):
        moment = cell if cell.tzinfo else cell.replace(tzinfo=UTC)
        return int(moment.timestamp())
    if isinstance(cell, date):
        return int(datetime.combine(cell, time(), tzinfo=UTC).timestamp())
    if isinstance(cell, str):
        try:
            return _unix_seconds(datetime.fromisoformat(cell.strip()))
        except ValueError:
            raise BadValueError("not-a-time", "is not a time", "map a date or timestamp column") from None
    return _integer(cell)


def _number_or_word(cell: Any, param: Param) -> int | str:
    # Some accept a keyword besides a number: `trial_end: now`, `up_to: inf`.
    return cell if isinstance(cell, str) and cell in param.enum else _integer(cell)


def _integer(cell: Any) -> int:
    if isinstance(cell, bool):
        raise BadValueError("not-an-integer", "is true or false, but Stripe expects a whole number")
    if isinstance(cell, int):
        return cell
    if isinstance(cell, datetime | date):
        return _unix_seconds(cell)
    number = _decimal(cell, "not-an-integer", "a whole number")
    if number != number.to_integral_value():
        raise BadValueError(
            "not-an-integer", "has decimals, but Stripe expects a whole number", "for money, use `as: minor_units`"
        )
    return int(number)


def _number(cell: Any, _param: Param) -> str:
    if isinstance(cell, bool):
        raise BadValueError("not-a-number", "is true or false, but Stripe expects a number")
    return plain(_decimal(cell, "not-a-number", "a number"))


def _decimal(cell: Any, code: str, wanted: str) -> Decimal:
    try:
        # repr() of a float is the shortest text that reads back as the same float, so it adds no digits.
        number = Decimal(repr(cell)) if isinstance(cell, float) else Decimal(cell)
    except (InvalidOperation, TypeError, ValueError):
        raise BadValueError(code, f"is {_kind_of(cell)}, but Stripe expects {wanted}") from None
    if not number.is_finite():
        raise BadValueError(code, f"is not finite, but Stripe expects {wanted}")
    return number


def plain(number: Decimal) -> str:
    """A decimal as text, without an exponent and without trailing zeros."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _boolean(cell: Any, _param: Param) -> bool:
    if isinstance(cell, bool):
        return cell
    if isinstance(cell, int) and cell in {0, 1}:
        return bool(cell)
    text = cell.strip().lower() if isinstance(cell, str) else ""
    if text in TRUE_TEXTS | FALSE_TEXTS:
        return text in TRUE_TEXTS
    raise BadValueError("not-a-boolean", f"is {_kind_of(cell)}, but Stripe expects true or false")


def _text(cell: Any, param: Param) -> str:
    text = cell if isinstance(cell, str) else as_text(cell)
    # docs.stripe.com/currencies: codes are lower case; warehouses store them in upper case, as ISO 4217 does.
    return text.lower() if param.name == "currency" else text


def as_text(cell: Any) -> str:
    """A scalar cell as text, with numbers written without an exponent. Raises `BadValueError`."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, Decimal):
        return format(abs(cell) if not cell else _decimal(cell, "not-text", "text"), "f")
    if isinstance(cell, int | UUID):
        return str(cell)
    if isinstance(cell, float):
        return plain(_decimal(cell, "not-text", "text"))
    if isinstance(cell, datetime) and cell.tzinfo is not None:
        return cell.astimezone(UTC).isoformat()
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell)
    raise BadValueError("not-text", f"is {_kind_of(cell)}, but Stripe expects text", "cast it in the model")


def _choice(cell: Any, param: Param) -> str:
    text = as_text(cell)
    if text not in param.enum:
        choices = ", ".join(f"`{choice}`" for choice in param.enum[:SHOWN_CHOICES])
        more = " …" if len(param.enum) > SHOWN_CHOICES else ""
        raise BadValueError("not-in-enum", "is not one of the values that Stripe accepts", f"one of {choices}{more}")
    return text


def _hash(cell: Any, param: Param) -> dict[str, Any]:
    pairs = _pairs(cell)
    if pairs is None:
        raise BadValueError("not-a-hash", f"is {_kind_of(cell)}, but Stripe expects a hash")
    fields = param.fields or {}
    made: dict[str, Any] = {}
    for name, part in pairs.items():
        if is_null(part):
            continue
        if name not in fields:
            raise BadValueError(
                "unknown-parameter", "has a field that Stripe doesn't know", f"it takes {', '.join(fields)}", (name,)
            )
        value = _within(name, part, fields[name])
        if not is_empty(value):
            made[name] = value
    for name, field in fields.items():
        if field.required and name not in made:
            raise BadValueError("missing-parameter", "is missing, and Stripe requires it", None, (name,))
    return made


def _map(cell: Any, param: Param) -> dict[str, Any]:
    pairs = _pairs(cell)
    if pairs is None:
        raise BadValueError("not-a-hash", f"is {_kind_of(cell)}, but Stripe expects names and values")
    made: dict[str, Any] = {}
    for key, part in pairs.items():
        name = key.lower() if param.name == "currency_options" else key
        if param.values is not None and param.values.kind is ParamKind.STRING and isinstance(part, dict | list):
            made[name] = _as_json(name, part)
        elif not is_null(part):
            value = _within(name, part, param.values) if param.values else part
            made |= {} if is_empty(value) else {name: value}
    return made


def _as_json(name: str, part: Any) -> str:
    try:
        _check_finite(part)
        return orjson.dumps(part, option=JSON_OPTIONS, default=as_text).decode()
    except (TypeError, BadValueError):
        raise BadValueError(
            "not-text", "holds a value that JSON can't represent", "cast it in the model", (name,)
        ) from None


def _check_finite(part: Any) -> None:
    # orjson writes null for numbers that JSON can't represent.
    for leaf in leaves(part):
        if isinstance(leaf, float | Decimal):
            _decimal(leaf, "not-text", "text")


def _pairs(cell: Any) -> dict[str, Any] | None:
    """Names and values, or None if the cell has none. Arrow returns a MAP column as pairs."""
    if isinstance(cell, list) and cell and all(isinstance(pair, tuple) for pair in cell):
        cell = dict(cell)
    return {str(name): part for name, part in cell.items()} if isinstance(cell, dict) else None


def _list(cell: Any, param: Param) -> list[Any]:
    if not isinstance(cell, list | tuple):
        raise BadValueError("not-a-list", f"is {_kind_of(cell)}, but Stripe expects a list")
    return [
        _within(str(index), part, param.item) if param.item else part
        for index, part in enumerate(cell)
        if part is not None
    ]


def _within(name: str, part: Any, param: Param) -> Any:
    try:
        return part if isinstance(part, Ref) else convert(part, param)
    except BadValueError as bad:
        raise BadValueError(bad.code, bad.reason, bad.hint, (name, *bad.path)) from None


def _anything(cell: Any, _param: Param) -> Any:
    if isinstance(cell, str | bool | int | dict | list):
        return cell
    return as_text(cell)


def _kind_of(cell: Any) -> str:
    if isinstance(cell, str):
        return "text"
    if isinstance(cell, bool):
        return "true or false"
    if isinstance(cell, datetime | date | time):
        return "a time"
    if isinstance(cell, int | float | Decimal):
        return "a number"
    if isinstance(cell, dict):
        return "a struct"
    return "a list" if isinstance(cell, list | tuple) else "binary" if isinstance(cell, bytes) else "of another type"


_FROM_JSON = frozenset({ParamKind.HASH, ParamKind.LIST, ParamKind.MAP})
_CONVERTERS: dict[ParamKind, Callable[[Any, Param], Any]] = {
    ParamKind.STRING: _text,
    ParamKind.INTEGER: _number_or_word,
    ParamKind.NUMBER: _number,
    ParamKind.BOOLEAN: _boolean,
    ParamKind.ENUM: _choice,
    ParamKind.HASH: _hash,
    ParamKind.LIST: _list,
    ParamKind.MAP: _map,
    ParamKind.ANY: _anything,
}
