"""What only an object in Stripe shows of a row that differs: its status, the ids of its items, what it hides."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.engine.decide.changes import Decision, Existing
from dbt_stripe_sync.engine.decide.deciding import decide_present, needs_body, needs_body_back
from dbt_stripe_sync.engine.decide.fixed import keep_fixed, may_be_fixed
from dbt_stripe_sync.engine.decide.replacing import end_replaced
from dbt_stripe_sync.engine.payload.items import emptying_of, match_items
from dbt_stripe_sync.engine.payload.revealing import is_hidden, reveal
from dbt_stripe_sync.engine.plan.matching import not_asked
from dbt_stripe_sync.engine.stage.diff import Kind
from dbt_stripe_sync.engine.stage.linking import without_kept
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.change import Action
from dbt_stripe_sync.model.lifecycle import ByStatus, Mode

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.decide.changes import Rules
    from dbt_stripe_sync.engine.payload.builder import PayloadBuilder
    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.engine.stage.diff import RowDiff
    from dbt_stripe_sync.engine.stage.layout import Layout
    from dbt_stripe_sync.model.calls import Answer
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.lifecycle import ItemList


class Completer:
    """Asks Stripe for the objects of one sync's rows, and only for those that matter."""

    def __init__(self, stripe: Stripe, rules: Rules, layout: Layout, builder: PayloadBuilder) -> None:
        self._stripe = stripe
        self._rules = rules
        self._layout = layout
        self._builder = builder

    def is_body_needed(self, diff: RowDiff) -> bool:
        """Whether a row can only be decided on with its object as it is in Stripe now."""
        if diff.unreadable and diff.kind is not Kind.REMOVED:
            return self._rules.sync.mode is not Mode.INSERT
        asked = {Kind.REMOVED: needs_body, Kind.RETURNED: needs_body_back}.get(diff.kind)
        return asked is not None and asked(self._rules)

    async def bodies(self, diffs: Sequence[RowDiff], notes: Counter[str]) -> Mapping[str, Mapping[str, Any]]:
        """The objects of rows that left the model, where their removal depends on their status, or that came back.

        A row whose record holds hashes of an unknown salt is compared with its object, too.
        """
        rule = self._rules.lifecycle.on_removed.get(self._rules.sync.on_removed)
        expand = rule.expand if isinstance(rule, ByStatus) else ()
        diffs = [diff for diff in diffs if self.is_body_needed(diff)]
        if other_salt := sum(diff.unreadable for diff in diffs):
            notes["its record was made with another salt, so it is compared with its object"] += other_salt

        async def retrieve(diff: RowDiff) -> tuple[str, Mapping[str, Any] | None]:
            answer = await self._retrieve(diff.stripe_id, diff, expand)
            return diff.key, answer.body if answer.verdict is Verdict.DONE else {} if _is_missing(answer) else None

        return {key: body for key, body in await asyncio.gather(*map(retrieve, diffs)) if body is not None}

    def needs_object(self, decision: Decision) -> bool:
        """Whether a decision is made complete by its object alone."""
        if decision.change is None:
            return False
        lists = self._rules.lifecycle.item_lists.keys()
        return (
            decision.ends is not None
            or any(call.target and call.params.keys() & lists for call in decision.change.calls)
            or any(is_hidden(dict(call.params)) for call in decision.change.calls)
            or may_be_fixed(self._rules, decision.change)
            or bool(self._to_expand(decision.change))
        )

    def _to_expand(self, change: Change) -> tuple[str, ...]:
        """What an adopted object has to show before it is known whether it differs."""
        sent = change.calls[0].params if change.action is Action.ADOPT else {}
        return tuple(name for name in self._rules.lifecycle.shown_if_asked if name in sent)

    async def with_object(self, diff: RowDiff, decision: Decision) -> Decision:
        """The same decision, made complete with what only the object in Stripe shows: its status, its items' ids."""
        lists = self._rules.lifecycle.item_lists
        change = decision.change
        if change is None:
            return decision
        rule, hidden = decision.ends or self._rules.lifecycle.fixed, self._to_expand(change)
        answer = await self._retrieve(change.stripe_id, diff, (*(rule.expand if rule else ()), *hidden))
        if _is_missing(answer) and decision.ends is None:
            # Stripe itself says of its call that the object is gone.
            return replace(decision, change=_revealed(change, {}))
        if answer.verdict is not Verdict.DONE:
            return Decision(problems=(not_asked(self._rules, diff),))
        if decision.ends is not None:
            return end_replaced(self._rules, diff, decision, answer.body)
        if hidden:
            decision = self._decide_anew(diff, Existing(body=answer.body, by=str(change.found_by)))
            if decision.change is None:
                return decision
            change = decision.change
        change = _revealed(change, answer.body)
        kept = keep_fixed(self._rules, diff, change, answer.body)
        if kept is not None:
            return self._decide_anew(without_kept(diff, self._layout)) if diff.kind is Kind.RETURNED else kept
        items = {name: await self._items(answer.body, name, rule) for name, rule in lists.items()}
        lose = {name: emptying_of(self._rules.sync, self._rules.resource, name, diff.params) for name in lists}
        calls = tuple(
            replace(
                call,
                params={
                    name: match_items(value, items[name], lists[name], lose[name])
                    if call.target and name in lists
                    else value
                    for name, value in call.params.items()
                },
            )
            for call in change.calls
        )
        return replace(decision, change=replace(change, calls=calls))

    def _decide_anew(self, diff: RowDiff, existing: Existing | None = None) -> Decision:
        """A row as if it had no record: one is back whose object can't be brought back, or all of an object is seen."""
        new = replace(diff, kind=Kind.NEW, stripe_id=None, params={}, payload_hash=None, adopted=False)
        return decide_present(self._rules, new, self._builder.build(diff.key, diff.row), existing)

    async def _items(self, body: Mapping[str, Any], name: str, rule: ItemList) -> list[Mapping[str, Any]]:
        shown = body.get(name) or {}
        if not shown.get("has_more"):
            return list(shown.get("data", ()))
        resource, parent = rule.listed_by
        pages = self._stripe.pages(resource, {parent: body["id"], "limit": 100})
        return [item async for page in pages for item in page]

    async def _retrieve(self, stripe_id: str | None, diff: RowDiff, expand: tuple[str, ...]) -> Answer:
        params = {**self._path(diff), **({"expand": list(expand)} if expand else {})}
        return await self._stripe.send(
            Call(resource=self._rules.resource.name, operation="retrieve", target=stripe_id, params=params)
        )

    def _path(self, diff: RowDiff) -> dict[str, Any]:
        in_path = (name for name, param in self._rules.resource.params.items() if param.in_path)
        return {name: diff.params[name] for name in in_path if name in diff.params}


def _revealed(change: Change, body: Mapping[str, Any]) -> Change:
    return replace(change, calls=tuple(replace(call, params=reveal(call.params, body)) for call in change.calls))


def _is_missing(answer: Answer) -> bool:
    return answer.failure is not None and answer.failure.code == "resource_missing"
