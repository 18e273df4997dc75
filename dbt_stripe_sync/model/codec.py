"""Encodes and decodes values as JSON for plan files and the state, and writes JSON in canonical form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import convert, to_builtins
from msgspec.structs import replace

from dbt_stripe_sync.model.calls import StripeFailure
from dbt_stripe_sync.model.change import (
    Action,
    Change,
    FieldChange,
    Fingerprint,
    NewFields,
    NotStored,
    Owed,
    PlannedCall,
    Ref,
)
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.plan import (
    DriftedObject,
    FormerObject,
    ObjectSeen,
    PlanHeader,
    ReadBack,
    SettledDrift,
    SyncCounts,
    Touched,
)
from dbt_stripe_sync.model.record import Record
from dbt_stripe_sync.model.run import Intent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dbt_stripe_sync.model.change import Params
    from dbt_stripe_sync.model.plan import Refreshed

REF = "$ref"
FINGERPRINT = "$fingerprint"
NOT_STORED = "$not_stored"
_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS
# Types that need no encoding in JSON. Most values of a row have one of them, and a run walks them several times.
_PLAIN = frozenset({str, int, bool, type(None)})
_LIKE_OURS = re.compile(r"\$+(ref|fingerprint|not_stored)$")


def canonical(value: Any) -> str:
    """JSON with sorted names and no spaces, so that equal values have equal text.

    `Ref` becomes `{"$ref": [sync, key]}`. Raises `TypeError` for values that Stripe's parameters can't have (such as
    floats, decimals and dates).
    """
    return orjson.dumps(_canonical(value), option=orjson.OPT_SORT_KEYS).decode()


def _canonical(value: Any) -> Any:
    if type(value) in _PLAIN or isinstance(value, str | int):
        return value
    if isinstance(value, dict | Mapping):
        return {name: _canonical(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(part) for part in value]
    marked = _marked(value)
    if marked is None:
        raise TypeError(f"a {type(value).__name__} has no canonical form")
    return marked


def _marked(value: Any) -> dict[str, Any] | None:
    """Return the JSON of a reference, or of a value that isn't stored; None for anything else."""
    if isinstance(value, Ref):
        return {REF: [value.sync, value.key]}
    if isinstance(value, Fingerprint):
        return {FINGERPRINT: [value.salt, value.digest]}
    return {NOT_STORED: value.kind} if isinstance(value, NotStored) else None


def encode_params(value: Any) -> Any:
    """Return parameters as plain JSON, with `Ref` as `{"$ref": [sync, key]}` and similar forms for values not stored.

    A name that looks like `$ref` (metadata may have it) gets another `$`, so that it isn't mistaken for a reference.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        return {
            _escaped(name) if name[:1] == "$" else name: part if type(part) in _PLAIN else encode_params(part)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [encode_params(part) for part in value]
    if isinstance(value, Mapping):
        return encode_params(dict(value))
    marked = _marked(value)
    return value if marked is None else marked


def _escaped(name: str) -> str:
    return f"${name}" if _LIKE_OURS.match(name) else name


def decode_params(value: Any) -> Any:
    """The inverse of `encode_params`."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        if len(value) == 1:
            ((name, part),) = value.items()
            if name == REF:
                sync, key = part
                return Ref(sync=sync, key=key)
            if name == FINGERPRINT:
                salt, digest = part
                return Fingerprint(salt=salt, digest=digest)
            if name == NOT_STORED:
                return NotStored(kind=part)
        return {
            name[1:] if name[:1] == "$" and _LIKE_OURS.match(name) else name: (
                part if type(part) in _PLAIN else decode_params(part)
            )
            for name, part in value.items()
        }
    if isinstance(value, list):
        return [decode_params(part) for part in value]
    return value


def encode_change(change: Change) -> dict[str, Any]:
    """A change as JSON values."""
    return _change_as(change, encode_params)


def dump_change(change: Change) -> bytes:
    """Return `encode_change` as a line of JSON, for most changes without walking them.

    Raises `TypeError` for values that JSON can't represent.
    """
    try:
        line = orjson.dumps(_change_as(change, _as_it_is), option=_LINE)
    except TypeError:
        pass  # a reference, or another value with its own form
    else:
        if b'"$' not in line:
            return line  # no name that looks like one of ours
    return orjson.dumps(encode_change(change), option=_LINE)


def _change_as(change: Change, encode: Callable[[Any], Any]) -> dict[str, Any]:
    is_new = isinstance(change.changed, NewFields) and change.changed.params is change.desired
    return {
        "id": change.id,
        "action": change.action.value,
        "sync": change.sync,
        "key": change.key,
        "resource": change.resource,
        "stripe_id": change.stripe_id,
        "calls": [_call_as(call, encode) for call in change.calls],
        "desired": encode(change.desired),
        # All fields of a new object change, so they aren't listed again.
        "changed": None
        if is_new
        else [[part.path, encode(part.before), encode(part.after)] for part in change.changed],
        "depends_on": list(change.depends_on),
        "source_hash": change.source_hash,
        "refs": change.refs,
        "reason": change.reason,
        "found_by": change.found_by,
        "removed": change.removed,
        "gone": change.gone,
        "owes": [encode_owed(step) for step in change.owes],
        "settles": list(change.settles),
        **({"before": encode(change.before)} if change.before else {}),
        **({"rebuilt": True} if change.rebuilt else {}),
    }


def _call_as(call: PlannedCall, encode: Callable[[Any], Any]) -> list[Any]:
    """A call as a JSON list, with the resource if it isn't the change's."""
    raw = [call.operation, encode(call.target), encode(call.params)]
    return [*raw, call.resource] if call.resource is not None else raw


def _as_it_is(value: Any) -> Any:
    return value


def _decode_changed(raw: Any, desired: Params) -> Sequence[FieldChange]:
    if raw is None:
        return NewFields(desired)
    return tuple(
        FieldChange(path=path, before=decode_params(before), after=decode_params(after)) for path, before, after in raw
    )


def decode_change(raw: Mapping[str, Any]) -> Change:
    """The inverse of `encode_change`. Raises `KeyError`, `TypeError` or `ValueError` if something is missing."""
    desired = decode_params(raw["desired"])
    return Change(
        id=raw["id"],
        action=Action(raw["action"]),
        sync=raw["sync"],
        key=raw["key"],
        resource=raw["resource"],
        stripe_id=raw["stripe_id"],
        calls=tuple(decode_call(*call) for call in raw["calls"]),
        desired=desired,
        changed=_decode_changed(raw["changed"], desired),
        depends_on=tuple(raw["depends_on"]),
        source_hash=raw["source_hash"],
        refs=raw["refs"],
        reason=raw["reason"],
        found_by=raw["found_by"],
        removed=raw["removed"],
        gone=raw["gone"],
        # States in an earlier format have intents and outcomes without these.
        owes=tuple(decode_owed(step) for step in raw.get("owes", ())),
        settles=tuple(raw.get("settles", ())),
        before=decode_params(raw.get("before", {})),
        rebuilt=bool(raw.get("rebuilt")),
    )


def decode_call(operation: str, target: Any, params: Any, resource: str | None = None) -> PlannedCall:
    """A call from its JSON list."""
    return PlannedCall(
        operation=operation, target=decode_params(target), params=decode_params(params), resource=resource
    )


def encode_owed(step: Owed) -> Any:
    """An owed step as JSON values."""
    return to_builtins(replace(step, params=encode_params(step.params)))


def decode_owed(raw: Mapping[str, Any]) -> Owed:
    """The inverse of `encode_owed`. Raises `KeyError` or `ValueError` if the values aren't a valid step."""
    return convert({**raw, "params": decode_params(raw["params"])}, Owed)


def encode_refreshed(entry: Refreshed) -> dict[str, Any]:
    """A record update as JSON values."""
    raw = {name: getattr(entry, name) for name in type(entry).__struct_fields__}
    if isinstance(entry, Record):
        raw["params"] = encode_params(entry.params)
    elif isinstance(entry, ReadBack):
        raw["at"] = _time(entry.at)
    elif isinstance(entry, DriftedObject):
        raw["changed"] = [[f.path, encode_params(f.before), encode_params(f.after)] for f in entry.changed]
    return raw


def decode_refreshed(raw: Mapping[str, Any]) -> Refreshed:
    """The inverse of `encode_refreshed`."""
    if "params" in raw:
        return Record(**{**raw, "params": decode_params(raw["params"])})
    if "digest" in raw:
        changed = (
            FieldChange(path=path, before=decode_params(before), after=decode_params(after))
            for path, before, after in raw["changed"]
        )
        return DriftedObject(**{**raw, "changed": tuple(changed)})
    if "at" in raw:
        return ReadBack(sync=raw["sync"], at=datetime.fromisoformat(raw["at"]))
    if "missing" in raw:
        return ObjectSeen(**raw)
    if "refs" in raw:
        return Touched(**raw)
    return FormerObject(**raw) if "stripe_id" in raw else SettledDrift(**raw)


def encode_intent(intent: Intent) -> dict[str, Any]:
    """An intent as JSON values."""
    return {
        "id": intent.id,
        "run_id": intent.run_id,
        "change": encode_change(intent.change),
        "keys": list(intent.keys),
        "step": intent.step,
        "stripe_id": intent.stripe_id,
        "key_sent_at": _time(intent.key_sent_at),
        "key_spent": intent.key_spent,
    }


def decode_intent(raw: Mapping[str, Any]) -> Intent:
    """The inverse of `encode_intent`."""
    return Intent(
        id=raw["id"],
        run_id=raw["run_id"],
        change=decode_change(raw["change"]),
        keys=tuple(raw["keys"]),
        step=raw["step"],
        stripe_id=raw["stripe_id"],
        key_sent_at=datetime.fromisoformat(raw["key_sent_at"]) if raw["key_sent_at"] else None,
        key_spent=raw["key_spent"],
    )


def encode_problem(problem: Problem) -> Any:
    """A problem as JSON values."""
    return to_builtins(problem)


def decode_problem(raw: Mapping[str, Any]) -> Problem:
    """The inverse of `encode_problem`."""
    return convert(raw, Problem)


def encode_failure(failure: StripeFailure | None) -> Any:
    """Stripe's error as JSON values."""
    return to_builtins(failure)


def decode_failure(raw: Mapping[str, Any] | None) -> StripeFailure | None:
    """The inverse of `encode_failure`."""
    return convert(raw, StripeFailure | None)


def encode_counts(counts: SyncCounts) -> Any:
    """A sync's counts as JSON values."""
    notes = [[note.text, note.rows, *([True] if note.before_sending else [])] for note in counts.notes]
    return to_builtins(counts) | {"notes": notes}


def decode_counts(raw: Mapping[str, Any]) -> SyncCounts:
    """The inverse of `encode_counts`."""
    return convert({**raw, "notes": [_note_as(note) for note in raw["notes"]]}, SyncCounts)


def _note_as(raw: Any) -> Any:
    # States in an earlier format have notes as texts.
    return {"text": raw} if isinstance(raw, str) else dict(zip(("text", "rows", "before_sending"), raw, strict=False))


def encode_header(header: PlanHeader) -> Any:
    """A plan's header as JSON values."""
    return to_builtins(header)


def decode_header(raw: Mapping[str, Any]) -> PlanHeader:
    """The inverse of `encode_header`."""
    return convert(raw, PlanHeader)


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
