"""Completes a change with values that only its object has: its status, item ids, unmapped parts of hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import look, reject
from dbt_stripe_sync.engine.decide.fixed import keep_fixed, may_be_fixed
from dbt_stripe_sync.engine.decide.rules import Ask, Decision, Observed, ReadItems, ReadOurs, Reject, Rules
from dbt_stripe_sync.engine.payload.filling import fill, fill_entries, partly_sent
from dbt_stripe_sync.engine.payload.items import emptying_of, identities, match_items, pair_items
from dbt_stripe_sync.engine.payload.revealing import is_hidden, reveal
from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.sync import ItemsOwned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.model.change import Change, PlannedCall
    from dbt_stripe_sync.model.difference import RowDiff


class BlockedByStatus(Struct, frozen=True, kw_only=True):
    """The object's status no longer allows the change. `instead` is what its row needs then."""

    instead: Decision


def complete(
    rules: Rules, diff: RowDiff, change: Change, observed: Observed, shown: Mapping[str, Any] | None = None
) -> Change | Ask | Reject | BlockedByStatus | None:
    """The same change, completed from its object; None if the object is gone.

    `shown` is the object, if it was just found or read back and compared with the row.
    """
    lists = _sent_lists(rules, change)
    whole = _replaced_lists(rules, change)
    anchored = _sent_anchored(rules, change)
    partly = partly_updated(rules, change)
    entries = _sent_entries(rules, change)
    if not (lists or whole or anchored or entries or _hides(change) or may_be_fixed(rules, change)):
        if not partly:
            return change
        if shown is not None and partly <= shown.keys():
            return filled(rules, change, shown)
    listed = [name for name in lists if name in rules.lifecycle.shown_if_asked]
    expand = dict.fromkeys([*rules.lifecycle.fixed_expand, *listed])
    seen = look(rules, diff, observed, change.stripe_id, tuple(expand))
    if isinstance(seen, Ask | Reject):
        return seen
    if not seen:
        return None if not _hides(change) else _revealed(change, {})
    change = _revealed(change, seen)
    kept = keep_fixed(rules, diff, change, seen)
    if kept is not None:
        return BlockedByStatus(instead=kept)
    if foreign := [name for name in whole if _has_foreign(seen.get(name), diff.params.get(name))]:
        return reject(*(_foreign_problem(rules, diff, str(change.stripe_id), name) for name in foreign))
    change = _with_entries(rules, diff, _anchored(rules, change, anchored, seen), entries, seen)
    change = filled(rules, change, seen)
    return _with_lists(rules, diff, change, lists, seen, observed)


def _with_lists(
    rules: Rules,
    diff: RowDiff,
    change: Change,
    lists: Sequence[str],
    seen: Mapping[str, Any],
    observed: Observed,
) -> Change | Ask | Reject:
    """The change with the ids of all items of some lists, once they were read from the object or its own list."""
    items: dict[str, Sequence[Mapping[str, Any]]] = {}
    for name in lists:
        shown = seen.get(name) or {}
        if not shown.get("has_more"):
            items[name] = list(shown.get("data", ()))
        elif name in observed.items:
            items[name] = observed.items[name]
        else:
            return Ask(need=_items_of(rules, name, str(seen["id"])))
    return _with_items(rules, diff, change, items, observed)


def _items_of(rules: Rules, name: str, stripe_id: str) -> ReadItems:
    rule = rules.lifecycle.item_lists[name]
    resource, parent = rule.listed_by or (rules.resource.name, None)
    return ReadItems(name=name, resource=resource, stripe_id=stripe_id, parent=parent, operation=rule.listed_with)


def _with_items(
    rules: Rules, diff: RowDiff, change: Change, items: Mapping[str, Sequence[Mapping[str, Any]]], observed: Observed
) -> Change | Ask | Reject:
    """The change with the ids of the items that it sends and removes."""
    lists = rules.lifecycle.item_lists
    calls = list(change.calls)
    for name, existing in items.items():
        emptying = emptying_of(rules.sync, rules.resource, name, diff.params)
        for index, call in enumerate(calls):
            if not call.target or name not in call.params:
                continue
            wanted = call.params[name]
            if not emptying.is_known:
                reusable = _reusable(rules, replace(diff, stripe_id=change.stripe_id), name, wanted, existing, observed)
                if isinstance(reusable, Ask | Reject):
                    return reusable
                emptying = replace(emptying, reusable=reusable)
            matched = match_items(wanted, existing, lists[name], emptying)
            calls[index] = replace(call, params={**call.params, name: matched})
    return replace(change, calls=tuple(calls))


def _reusable(
    rules: Rules,
    diff: RowDiff,
    name: str,
    wanted: Sequence[Mapping[str, Any]],
    existing: Sequence[Mapping[str, Any]],
    observed: Observed,
) -> frozenset[str] | Ask | Reject:
    """Which items of an object may become items of its row, if no record has them.

    They are those that name an object of a sync, or a replaced one. Otherwise, a new item might be meant to replace one
    of them.
    """
    rule = rules.lifecycle.item_lists[name]
    ids, left = pair_items(wanted, existing, rule)
    missing = sum(found is None for found in ids)
    if not missing or not left:
        return frozenset()
    if observed.ours is None:
        return Ask(need=ReadOurs(ids=identities(left.values(), rule)))
    mine = [item for item in identities(left.values(), rule) if item in observed.ours]
    if missing > len(mine) and len(mine) < len(left):
        return reject(_foreign_problem(rules, diff, str(diff.stripe_id), name))
    return frozenset(mine)


def _sent_lists(rules: Rules, change: Change) -> tuple[str, ...]:
    """The lists of items with ids that the change sends to an existing object."""
    sent = {name for call in change.calls if call.target for name in call.params}
    return tuple(name for name in rules.lifecycle.item_lists if name in sent)


def _sent_anchored(rules: Rules, change: Change) -> tuple[str, ...]:
    """The lists of an update whose start must come from the object, since the row doesn't set it or sets `now`."""
    sent = [call.params for call in change.calls if call.target]
    return tuple(
        name
        for name, start in rules.lifecycle.anchored.items()
        if any(params.get(name) and not isinstance(params[name][0].get(start), int) for params in sent)
    )


def _anchored(rules: Rules, change: Change, names: Sequence[str], body: Mapping[str, Any]) -> Change:
    """The change with the start of its lists as the object has it."""
    calls = list(change.calls)
    for name in names:
        start = rules.lifecycle.anchored[name]
        shown = body.get(name) or ()
        for index, call in enumerate(calls):
            if shown and call.target and call.params.get(name):
                first, *rest = call.params[name]
                entries = [{**first, start: shown[0][start]}, *rest]
                calls[index] = replace(call, params={**call.params, name: entries})
    return replace(change, calls=tuple(calls))


def _sent_entries(rules: Rules, change: Change) -> tuple[str, ...]:
    """The lists of an update whose entries may have more parts in Stripe than the row maps."""
    return tuple(
        name
        for name in rules.lifecycle.entries
        if any(_updates(call) and isinstance(call.params.get(name), list) for call in change.calls)
    )


def _with_entries(rules: Rules, diff: RowDiff, change: Change, names: Sequence[str], body: Mapping[str, Any]) -> Change:
    """The change, with the parts of such entries that only the object has."""
    calls = list(change.calls)
    for name in names:
        shown, before = body.get(name), diff.params.get(name)
        if not isinstance(shown, list) or not isinstance(before, list):
            continue
        for index, call in enumerate(calls):
            if _updates(call) and isinstance(call.params.get(name), list):
                param, rule = rules.resource.params[name], rules.lifecycle.entries[name]
                entries = fill_entries(call.params[name], shown, before, param, rule)
                calls[index] = replace(call, params={**call.params, name: entries})
    return replace(change, calls=tuple(calls))


def partly_updated(rules: Rules, change: Change) -> frozenset[str]:
    """The hashes of which an update sends only some parts, while the object may have more."""
    return frozenset(
        name
        for call in change.calls
        if _updates(call)
        for name in partly_sent(call.params, rules.resource.params, rules.lifecycle)
    )


def filled(rules: Rules, change: Change, body: Mapping[str, Any]) -> Change:
    """The change, with the unmapped parts of its hashes as the object has them."""
    names = partly_updated(rules, change)
    if not names:
        return change
    calls = tuple(
        replace(call, params=fill(call.params, names, body, rules.resource.params)) if _updates(call) else call
        for call in change.calls
    )
    return replace(change, calls=calls)


def _updates(call: PlannedCall) -> bool:
    """Whether a call updates the row's own object."""
    return call.operation == "update" and isinstance(call.target, str) and call.resource is None


def _hides(change: Change) -> bool:
    return any(is_hidden(dict(call.params)) for call in change.calls)


def _revealed(change: Change, body: Mapping[str, Any]) -> Change:
    return replace(change, calls=tuple(replace(call, params=reveal(call.params, body)) for call in change.calls))


def _replaced_lists(rules: Rules, change: Change) -> tuple[str, ...]:
    """The lists that an update would replace completely, and to which others may have added entries."""
    if rules.sync.items_owned is ItemsOwned.ALL or change.action is not Action.UPDATE:
        return ()
    sent = {name for call in change.calls if call.target for name in call.params}
    return tuple(name for name in rules.lifecycle.whole_lists if name in sent)


def _has_foreign(shown: Any, before: Any) -> bool:
    """Whether an object has entries in a list that its row did not add."""
    entries = shown.get("data") if isinstance(shown, dict) else shown
    ours = before if isinstance(before, list) else ()
    return isinstance(entries, list) and len(entries) > len(ours)


def _foreign_problem(rules: Rules, diff: RowDiff, stripe_id: str, name: str) -> Problem:
    return Problem(
        code="foreign-items",
        summary=f"`{name}` of {stripe_id} has entries that no row is known to have added",
        where=rules.sync.where.at_field("fields", name).at_key(diff.key),
        hint="add them to the model, remove them in Stripe, or set `items_owned: all` on the sync to replace them",
    )
