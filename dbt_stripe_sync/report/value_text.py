"""Renders parameter values for people: money in major units too, times as dates, and no secrets."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from dbt_stripe_sync.model.change import Fingerprint, NotStored, Ref
from dbt_stripe_sync.model.money import MoneyError, exponent_of, to_major_units
from dbt_stripe_sync.report.lines import plain
from dbt_stripe_sync.report.redact import HIDDEN_SECRET, NOT_KEPT, hide_secrets, is_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.plan import DriftedObject

NOT_SET = "(not set)"
CLEARED = "(cleared)"
REMOVED = "(removed)"
_GONE: Any = object()

# Parameters that Stripe counts in a currency's smallest unit (docs.stripe.com/api says "cents" or that unit).
_MONEY = frozenset(
    {
        "amount",
        "amount_off",
        "application_fee_amount",
        "balance",
        "custom_unit_amount",
        "flat_amount",
        "flat_amount_decimal",
        "maximum",
        "maximum_amount",
        "minimum",
        "minimum_amount",
        "preset",
        "refund_amount",
        "taxable_amount",
        "transfer_up_to_amount",
        "unit_amount",
        "unit_amount_decimal",
        "unit_cost",
    }
)
# An object has one of these: its price, or the amount that is charged or taken off.
_AMOUNTS = ("unit_amount", "unit_amount_decimal", "amount", "amount_off")
# Parameters with a Unix time in seconds whose names don't end like the others.
_TIMES = frozenset({"active_from", "billing_cycle_anchor", "created", "date", "redeem_by", "timestamp"})
_TIME_ENDINGS = ("_at", "_date", "_end", "_start")
_TIME_PARENTS = frozenset({"period", "service_period"})
# A number before 2000 or after 2100 is probably not a date.
_FIRST_TIME = 946_684_800
_LAST_TIME = 4_102_444_800
SECONDS_A_DAY = 86_400
_LIST_ITEM = re.compile(r"(?P<name>[^\[\]]+)\[(?P<index>\d+)\]")


class ShownPart(Struct, frozen=True, kw_only=True):
    """A part of a changed parameter for people: its path (`items[0].quantity`), its old and its new value."""

    path: str
    before: str
    after: str


def render_parts(change: Change) -> Iterator[ShownPart]:
    """Every parameter that a change touches; of a hash and of a list of hashes only the parts that differ."""
    old = _params_before(change)
    for part in change.changed:
        after = "" if part.after is None else part.after
        for path, before, now in walk_params(part.path, part.before, after):
            yield ShownPart(
                path=path,
                before=render_value(path, before, old),
                after=REMOVED if now is _GONE else render_value(path, now, change.desired),
            )


def _params_before(change: Change) -> Mapping[str, Any]:
    """The row's parameters with the old currencies, in which old amounts are."""
    params = change.desired
    for part in change.changed:
        if isinstance(part.before, dict | list) or (part.before is not None and part.path.endswith("currency")):
            params = _with_value(params, part.path.split("."), part.before)
    return params


def _with_value(params: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    name, *rest = path
    inner = params.get(name)
    return {**params, name: _with_value(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


def render_drifted(drifted: DriftedObject) -> Iterator[ShownPart]:
    """Every parameter that others have changed, with the row's value and the value in Stripe."""
    params = {part.path: part.before for part in drifted.changed}
    for part in drifted.changed:
        for path, ours, theirs in walk_params(part.path, part.before, part.after):
            gone = theirs is None or theirs is _GONE
            yield ShownPart(
                path=path,
                before=render_value(path, ours, params),
                after=REMOVED if gone else render_value(path, theirs, params),
            )


def walk_params(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every part of a parameter by its path (`items[0].quantity`), with the old value; None if it wasn't set.

    For two hashes, and for two lists of hashes, only the parts that differ. A list of plain values is one part.
    """
    if isinstance(after, dict) and after and (before is None or isinstance(before, dict)):
        for name in dict.fromkeys([*(before or {}), *after]):
            then, now = (before or {}).get(name), after.get(name)
            if then is None or then != now:
                yield from walk_params(f"{path}.{name}" if path else name, then, "" if now is None else now)
    elif _is_hashes(after) and (before is None or _is_hashes(before)):
        for index, (old, new) in enumerate(zip_longest(before or (), after)):
            where = f"{path}[{index}]"
            if new is None:
                yield where, old, _GONE
            else:
                yield from walk_params(where, old, new)
    else:
        yield path, before, after


def _is_hashes(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, dict) for item in value)


def render_value(path: str, value: Any, params: Mapping[str, Any]) -> str:
    """One value. `path` is its parameter's dotted name; `params` are the row's, which include the currency."""
    parent, name = ["", "", *path.split(".")][-2:]
    if value is None:
        return NOT_SET
    if value == "":
        return CLEARED
    if isinstance(value, Fingerprint | NotStored):
        return NOT_KEPT
    if is_secret(name, parent):
        return HIDDEN_SECRET
    if isinstance(value, Ref):
        return f"<id of {plain(value.sync)} [{plain(value.key)}]>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        raw = orjson.dumps(hide_secrets(value, name), default=_json, option=orjson.OPT_PASSTHROUGH_DATACLASS)
        return plain(raw.decode())
    text = plain(str(hide_secrets(value)))
    if text != text.strip():
        # Spaces around a value matter to Stripe, but a table doesn't show them.
        text = f'"{text}"'
    note = None if path.startswith("metadata.") else _money(name, value, path, params) or _time(name, value, parent)
    return f"{text} ({note})" if note else text


class ShownAmount(Struct, frozen=True, kw_only=True):
    """The amount of a change for people; `figure` is the new amount as a number, for sorting."""

    text: str
    figure: float


def render_amount(change: Change) -> ShownAmount | None:
    """The amount of a change, with its currency. Old and new if it differs, None if there is none."""
    for name in _AMOUNTS:
        value = change.desired.get(name)
        after = _money(name, value, name, change.desired)
        if after is None:
            continue
        before = next((part.before for part in change.changed if part.path == name), None)
        old = _money(name, before, name, _params_before(change))
        text = f"{old} -> {after}" if old is not None and change.changed and old != after else after
        currency = currency_of(name, change.desired) or ""
        return ShownAmount(text=text, figure=float(to_major_units(Decimal(str(value)), currency)))
    return None


def render_minor(amount: int, currency: str) -> ShownAmount:
    """An amount in a currency's smallest unit."""
    text = _money("amount", amount, "amount", {"currency": currency})
    figure = float(to_major_units(amount, currency)) if text is not None else float(amount)
    return ShownAmount(text=text or f"{amount:,} {currency.upper()}", figure=figure)


def currency_of(path: str, params: Mapping[str, Any]) -> str | None:
    """The currency nearest to a parameter: next to it, or else in a hash around it."""
    found: str | None = None
    level: Any = params
    for step in (*path.split(".")[:-1], None):
        if not isinstance(level, dict):
            break
        if isinstance(code := level.get("currency"), str) and code:
            found = code
        name, index = _step(step)
        level = level.get(name)
        if index is not None:
            level = level[index] if isinstance(level, list | tuple) and index < len(level) else None
    return found


def _step(step: str | None) -> tuple[str | None, int | None]:
    """`items[0]` as the name of a list and an index."""
    found = _LIST_ITEM.fullmatch(step or "")
    return (found["name"], int(found["index"])) if found else (step, None)


def _money(name: str, value: Any, path: str, params: Mapping[str, Any]) -> str | None:
    if name not in _MONEY or value is None or isinstance(value, bool | Fingerprint | NotStored):
        return None
    currency = currency_of(path, params)
    if currency is None:
        return None
    try:
        major = to_major_units(Decimal(str(value)), currency)
        return f"{major:,.{max(exponent_of(currency), _places(major))}f} {currency.upper()}"
    except (InvalidOperation, MoneyError, ValueError):
        return None


def _places(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _time(name: str, value: Any, parent: str) -> str | None:
    is_time = name in _TIMES or name.endswith(_TIME_ENDINGS) or (parent in _TIME_PARENTS and name in {"start", "end"})
    if not is_time or not isinstance(value, int) or not _FIRST_TIME <= value < _LAST_TIME:
        return None
    moment = datetime.fromtimestamp(value, UTC)
    return f"{moment:%Y-%m-%d}" if value % SECONDS_A_DAY == 0 else f"{moment:%Y-%m-%d %H:%M} UTC"


def _json(value: Any) -> Any:
    if isinstance(value, Fingerprint | NotStored):
        return NOT_KEPT
    return f"<id of {value.sync} [{value.key}]>" if isinstance(value, Ref) else str(value)
