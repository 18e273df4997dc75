"""Decides whether and how to create an object for a row that needs a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.decide.calls import build_change, create_calls, reject
from dbt_stripe_sync.engine.decide.rules import (
    Ask,
    Decision,
    Keep,
    Observed,
    ReadOwners,
    Reject,
    Rules,
)
from dbt_stripe_sync.engine.decide.windows import check_windows
from dbt_stripe_sync.model.change import Action, NewFields
from dbt_stripe_sync.model.counting import with_article
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.lifecycle import Mode
from dbt_stripe_sync.model.params import early_words
from dbt_stripe_sync.model.plan import Note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.engine.payload.builder import Payload
    from dbt_stripe_sync.model.difference import RowDiff


def decide_new(rules: Rules, diff: RowDiff, payload: Payload, observed: Observed) -> Decision:
    """A new object for a row that has none, if the row has everything that Stripe requires at creation."""
    if rules.sync.mode is Mode.UPDATE:
        return Keep(note=Note(text="no object of this row was found, and the sync's mode is `update`"))
    params = payload.params
    missing = [name for name in rules.resource.required if name not in params]
    lacking = _lacking(rules, diff, payload)
    if missing or lacking:
        return reject(*(_missing(rules, diff, name) for name in missing), *lacking)
    with_words = [name for name in params if name in rules.resource.early]
    early = [(name, *path) for name in with_words for path in _early(rules, name, params)]
    if early:
        return reject(*(_early_problem(rules, diff, path) for path in early))
    outside = tuple(check_windows(payload.params, rules.lifecycle.windows, rules.now, rules.sync.where, diff.key))
    if outside:
        return Reject(problems=outside)
    transfer = transfer_uniques(rules, diff, payload.params, observed)
    if isinstance(transfer, Ask):
        return transfer
    return build_change(
        rules,
        diff,
        Action.CREATE,
        params,
        calls=create_calls(rules, diff.key, {**params, **transfer}),
        changed=NewFields(params),
    )


def _lacking(rules: Rules, diff: RowDiff, payload: Payload) -> list[Problem]:
    """A group of parameters of which a new object needs one, and the row has none: the mapped columns are null."""
    params = rules.resource.params
    groups = [[name for name in group if name in params] for group in rules.lifecycle.needs_one_of]
    return [
        Problem(
            code="missing-one-of",
            summary=f"{' and '.join(f'`{name}`' for name in group)} {'are' if len(group) > 1 else 'is'} null, "
            f"and Stripe requires {'one of them' if len(group) > 1 else 'it'} to create "
            f"{with_article(rules.resource.name)}",
            where=rules.sync.where.at_field("fields").at_key(diff.key),
            hint="fill one of the columns that they are mapped to, or filter the row out in the model",
        )
        for group in groups
        if group and not any(name in payload.params for name in group)
    ]


def transfer_uniques(
    rules: Rules, diff: RowDiff, sent: Mapping[str, Any], observed: Observed
) -> Mapping[str, Any] | Ask:
    """The parameters that take unique values over from other rows, if Stripe has such parameters."""
    taken = {
        unique.parameter: value
        for unique in rules.lifecycle.uniques
        if unique.transfer is not None and isinstance(value := sent.get(unique.parameter), str) and value
    }
    if not taken:
        return {}
    if observed.owners is None:
        return Ask(need=ReadOwners(values=taken))
    here = (rules.sync.name, diff.key)
    others = {name for name in taken if observed.owners.get(name) not in {None, here}}
    return {u.transfer: True for u in rules.lifecycle.uniques if u.parameter in others and u.transfer is not None}


def _missing(rules: Rules, diff: RowDiff, name: str) -> Problem:
    return Problem(
        code="missing-parameter",
        summary=f"`{name}` is null, and Stripe requires it to create {with_article(rules.resource.name)}",
        where=rules.sync.where.at_field("fields", name).at_key(diff.key),
        hint="make the column not null, or filter the row out of the model",
    )


def _early(rules: Rules, name: str, params: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    return early_words(params[name], rules.resource.params[name])


def _early_problem(rules: Rules, diff: RowDiff, path: tuple[str, ...]) -> Problem:
    dotted = ".".join(path)
    return Problem(
        code="not-in-enum",
        summary=f"`{dotted}` has a value that Stripe accepts only in updates, and the {rules.resource.name} is new",
        where=rules.sync.where.at_field("fields", dotted).at_key(diff.key),
        hint="give it a value that Stripe accepts at creation, or make the column null for new rows",
    )
