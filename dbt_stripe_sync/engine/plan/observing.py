"""Fetches in bulk what decisions ask for: existing objects, current objects, their holders, and owners of values."""

from __future__ import annotations

import asyncio
from collections import ChainMap, defaultdict
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.choose import in_use
from dbt_stripe_sync.engine.decide.rules import (
    NOTHING_SEEN,
    FindObjects,
    Found,
    Holding,
    Need,
    Observed,
    ReadHoldings,
    ReadItems,
    ReadObject,
    ReadOurs,
    ReadOwners,
    ReadWhole,
    Rules,
    Unseen,
)
from dbt_stripe_sync.engine.plan.listing import PAGE
from dbt_stripe_sync.engine.plan.reads import read_together
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.change import Owed, nested
from dbt_stripe_sync.model.errors import StripeError
from dbt_stripe_sync.model.lifecycle import Mode
from dbt_stripe_sync.model.objects import TAG_FIELD, object_value
from dbt_stripe_sync.model.plan import Note
from dbt_stripe_sync.model.sql import ID_SEPARATOR
from dbt_stripe_sync.model.sync import PART_SEPARATOR
from dbt_stripe_sync.model.tag import further_objects

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.plan.references import ExistingObjects
    from dbt_stripe_sync.engine.plan.settling import Settling
    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.lifecycle import HeldBy
    from dbt_stripe_sync.model.params import Catalog, Resource

AT_ONCE = 32


class Observing(Struct, kw_only=True):
    """What the syncs of one plan share here.

    `claimed` has the row of each object that a row was matched to. `earlier` is what earlier runs still owe, and
    `former` the objects of those steps once they were read.
    """

    workspace: Workspace
    stripe: Stripe
    existing: ExistingObjects
    earlier: Sequence[Owed] = ()
    former: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    claimed: dict[str, dict[str, tuple[str, str]]] = field(default_factory=lambda: defaultdict(dict))
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def claim(self, resource: str, stripe_id: str, sync: str, key: str) -> None:
        """Record the owner of an existing object, so that no other row of the plan adopts it."""
        self.claimed[resource].setdefault(stripe_id, (sync, key))

    async def answer(
        self, rules: Rules, asked: Mapping[str, Need], seen: Mapping[str, Observed], notes: Counter[Note]
    ) -> dict[str, Observed]:
        """Fetch what rows ask for, and add it, by key, to what was already observed of them.

        Raises `StripeError` if a list fails.
        """
        answers = dict(seen)
        finds = {key: need for key, need in asked.items() if isinstance(need, FindObjects)}
        if finds:
            answers |= await self._find(rules, finds, seen, notes)
        owners = {key: need for key, need in asked.items() if isinstance(need, ReadOwners)}
        if owners:
            answers |= await self._owners(rules, owners, seen)
        for key, need in asked.items():
            if isinstance(need, ReadOurs):
                answers[key] = replace(seen[key], ours=self._ours(need.ids))
            elif isinstance(need, ReadWhole):
                answers[key] = replace(seen[key], whole_is_left=self._has_no_owner(need.stripe_id))
        reads = [(key, need) for key, need in asked.items() if isinstance(need, ReadObject | ReadItems | ReadHoldings)]
        bodies = await read_together(self._read(rules, need, seen[key]) for key, need in reads)
        answers |= {key: body for (key, _), body in zip(reads, bodies, strict=True)}
        return answers

    async def _read(self, rules: Rules, need: ReadObject | ReadItems | ReadHoldings, seen: Observed) -> Observed:
        async with self.gate:
            if isinstance(need, ReadObject):
                return await self._object(rules, need, seen)
            if isinstance(need, ReadItems):
                return replace(seen, items={**seen.items, need.name: await self._items(need)})
            return replace(seen, holdings=await self._holdings(need))

    async def _items(self, need: ReadItems) -> list[Mapping[str, Any]]:
        if need.operation is None:
            pages = self.stripe.pages(need.resource, {str(need.parent): need.stripe_id, "limit": PAGE})
            return [item async for page in pages for item in page]
        call = Call(resource=need.resource, operation=need.operation, target=need.stripe_id, params={"limit": PAGE})
        answer = await self.stripe.send(call)
        if answer.verdict is not Verdict.DONE:
            raise StripeError([])
        return list(answer.body.get("data", ()))

    async def _object(self, rules: Rules, need: ReadObject, seen: Observed) -> Observed:
        expand = tuple(sorted(seen.expanded.union(need.expand)))
        params = {**need.path, **({"expand": list(expand)} if expand else {})}
        answer = await self.stripe.send(
            Call(resource=rules.resource.name, operation="retrieve", target=need.stripe_id, params=params)
        )
        body: Mapping[str, Any] | Unseen = answer.body
        if answer.is_missing:
            body = Unseen.MISSING
        elif answer.verdict is not Verdict.DONE:
            body = Unseen.NOT_ANSWERED
        return replace(seen, body=body, expanded=frozenset(expand))

    async def _find(
        self, rules: Rules, asked: Mapping[str, FindObjects], seen: Mapping[str, Observed], notes: Counter[Note]
    ) -> dict[str, Observed]:
        resource = rules.resource.name
        wanted = {key: need.pairs for key, need in asked.items()}
        pairs = [pair for of_row in wanted.values() for pair in of_row]
        unanswered: frozenset[str] = frozenset()
        is_complete = False
        if rules.lifecycle.listed:
            is_complete = await self._needs_all(rules, wanted)
        else:
            unanswered = await self.existing.list_under(resource, {key: need.params for key, need in asked.items()})
            pairs = [(by, value) for by, value in pairs if by != TAG_FIELD]
        note = await self.existing.ask(resource, pairs, complete=is_complete)
        if note:
            notes[Note(text=note)] += 1
        hits = self._without_ending(resource, self.existing.find(resource, wanted))
        if further := _further_objects(rules, hits):
            notes[Note(text=further_objects(further))] += 1
        ids = [str(body["id"]) for hit in hits.values() for body in hit.objects]
        owners = ChainMap(self._recorded(resource, ids), self.claimed[resource])
        nothing = {is_near: Found(is_near=is_near) for is_near in (False, True)}
        # Most rows of a first sync have no object, and nothing else was read for them.
        unseen = {is_near: Observed(found=found) for is_near, found in nothing.items()}
        answers: dict[str, Observed] = {}
        for key, need in asked.items():
            hit = hits.get(key)
            if key in unanswered:
                answers[key] = replace(seen[key], found=Found(by=TAG_FIELD, objects=(), failed=True))
            elif hit is not None:
                answers[key] = replace(seen[key], found=replace(hit, owners=owners, is_near=need.is_near))
            elif seen[key] is NOTHING_SEEN:
                answers[key] = unseen[need.is_near]
            else:
                answers[key] = replace(seen[key], found=nothing[need.is_near])
        return answers

    def _without_ending(self, resource: str, hits: Mapping[str, Found]) -> Mapping[str, Found]:
        """The same objects without those whose end is owed: a row that adopted one would lose it in the same run."""
        ending = {step.target for step in self.earlier if step.resource == resource}
        if not ending:
            return hits
        left = {key: tuple(body for body in hit.objects if str(body["id"]) not in ending) for key, hit in hits.items()}
        return {key: replace(hit, objects=left[key]) for key, hit in hits.items() if left[key]}

    async def _needs_all(self, rules: Rules, wanted: Mapping[str, Sequence[tuple[str, str]]]) -> bool:
        """Whether finding the rows' own objects by their tag needs a complete list.

        A search isn't enough to create a row that it doesn't find, because its delay isn't documented
        (docs.stripe.com/search#data-freshness). An object that a row had is read itself.
        """
        tags = {key: value for key, pairs in wanted.items() for by, value in pairs if by == TAG_FIELD}
        if not tags or rules.sync.mode is Mode.UPDATE:
            return False
        known = {rules.forgotten[key]: value for key, value in tags.items() if key in rules.forgotten}
        await self.existing.look_at(rules.resource.name, known)
        return len(known) < len(tags)

    def _recorded(self, resource: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """The rows that these objects already belong to."""
        if not ids:
            return {}
        rows = self.workspace.all(
            "SELECT stripe_id, sync, key FROM known_records WHERE resource = $resource "
            "AND stripe_id IN (SELECT unnest($ids)) AND NOT contains(sync, $part)",
            {"resource": resource, "ids": list(dict.fromkeys(ids)), "part": PART_SEPARATOR},
        )
        return {stripe_id: (sync, key) for stripe_id, sync, key in rows}

    def _ours(self, ids: Sequence[str]) -> frozenset[str]:
        rows = self.workspace.all(
            "SELECT stripe_id FROM known_records WHERE stripe_id IN (SELECT unnest($ids)) UNION "
            "SELECT stripe_id FROM known_former_ids WHERE stripe_id IN (SELECT unnest($ids)) UNION "
            "SELECT former FROM work.planned WHERE former IN (SELECT unnest($ids)) UNION "
            "SELECT id FROM work.former WHERE id IN (SELECT unnest($ids))",
            {"ids": list(ids)},
        )
        return frozenset(found for (found,) in rows)

    def _has_no_owner(self, stripe_id: str) -> bool:
        """Whether no row will have an object any longer once this plan is done."""
        rows = self.workspace.all(
            "SELECT 1 FROM known_records AS r LEFT JOIN work.planned AS p ON p.sync = r.sync AND p.key = r.key "
            "WHERE r.stripe_id = $id AND NOT contains(r.sync, $part) AND (p.key IS NULL OR p.id = $id)",
            {"id": stripe_id, "part": PART_SEPARATOR},
        )
        return not rows

    async def _owners(
        self, rules: Rules, asked: Mapping[str, ReadOwners], seen: Mapping[str, Observed]
    ) -> dict[str, Observed]:
        """Which rows have unique values.

        Values that the state doesn't store can't be compared here; Stripe rejects duplicates.
        """
        owners = await self._of_former_objects(rules, asked)
        for name in dict.fromkeys(name for need in asked.values() for name in need.values):
            values = list(dict.fromkeys(need.values[name] for need in asked.values() if name in need.values))
            rows = self.workspace.all(
                "SELECT json_extract_string(params, $path) AS value, sync, key FROM known_records "
                "WHERE resource = $resource AND salt IS NULL AND value IN (SELECT unnest($values)) "
                "ORDER BY removed DESC",
                {"path": f'$."{name}"', "resource": rules.resource.name, "values": values},
            )
            owners |= {(name, value): (sync, key) for value, sync, key in rows}
        return {
            key: replace(seen[key], owners={name: owners.get((name, text)) for name, text in need.values.items()})
            for key, need in asked.items()
        }

    async def _of_former_objects(
        self, rules: Rules, asked: Mapping[str, ReadOwners]
    ) -> dict[tuple[str, str], tuple[str, str]]:
        """The values that replaced objects still have, since their ends are owed.

        No record contains them any longer.
        """
        steps = {step.target: step for step in self.earlier if step.resource == rules.resource.name}
        names = dict.fromkeys(name for need in asked.values() for name in need.values)
        await read_together(self._read_former(rules.resource, target) for target in steps)
        return {
            (name, str(self.former[target][name])): (step.sync, step.id)
            for target, step in steps.items()
            for name in names
            if self.former[target].get(name)
        }

    async def _read_former(self, resource: Resource, target: str) -> Mapping[str, Any]:
        """An object whose end is owed, with what may hold it; empty if there is no answer. A plan reads it once."""
        if target not in self.former:
            expand = [rule.named_by for rule in resource.lifecycle.held_by if rule.moves and rule.named_by]
            params = {"expand": expand} if expand else {}
            async with self.gate:
                answer = await self.stripe.send(
                    Call(resource=resource.name, operation="retrieve", target=target, params=params)
                )
            self.former[target] = answer.body if answer.verdict is Verdict.DONE else {}
        return self.former[target]

    # ── what holds an object ─────────────────────────────────────────────────────────────────────────────────────

    async def _holdings(self, need: ReadHoldings) -> Sequence[Holding] | Unseen:
        found: list[Holding] = []
        for rule in need.rules:
            holders = await self._holders(rule, need)
            if isinstance(holders, Unseen):
                return holders
            found += [self._holding(rule, str(body["id"]), need.stripe_id) for body in holders]
        return found

    async def _holders(self, rule: HeldBy, need: ReadHoldings) -> Sequence[Mapping[str, Any]] | Unseen:
        if rule.named_by is not None:
            holder = object_value(need.body, rule.named_by)
            named = object_value(holder, rule.parameter) if isinstance(holder, dict) else None
            is_held = (named.get("id") if isinstance(named, dict) else named) == need.stripe_id
            return (holder,) if is_held else ()
        try:
            pages = self.stripe.pages(
                rule.resource, {str(rule.listed_by): need.stripe_id, **rule.listed_with, "limit": PAGE}
            )
            return [body async for page in pages for body in page]
        except StripeError:
            return Unseen.NOT_ANSWERED

    def _holding(self, rule: HeldBy, holder: str, held: str) -> Holding:
        rows = self.workspace.all(
            "SELECT list_contains(string_split(coalesce(refs, ''), $separator), $held), removed FROM known_records "
            "WHERE resource = $resource AND stripe_id = $holder",
            {"separator": ID_SEPARATOR, "held": held, "resource": rule.resource, "holder": holder},
        )
        return Holding(
            resource=rule.resource,
            stripe_id=holder,
            parameter=rule.parameter,
            moves=rule.moves,
            ours=bool(rows),
            follows=any(refers for refers, _ in rows),
            leaving=any(removed for _, removed in rows),
        )

    # ── what is owed ─────────────────────────────────────────────────────────────────────────────────────────────

    async def look_at_refused(self, settling: Settling, catalog: Catalog) -> None:
        """If a sync wrote the new holders of an object, make them release it first."""
        for step in settling.earlier:
            resource = catalog.resource(step.resource)
            rules = [rule for rule in (resource.lifecycle.held_by if resource else ()) if rule.moves and rule.named_by]
            new = self.workspace.one(
                "SELECT stripe_id FROM known_records WHERE sync = $sync AND key = $key",
                {"sync": step.sync, "key": step.key},
            )
            if resource is None or not rules or not new or step.failure is None:
                continue
            body = await self._read_former(resource, step.target)
            if not body:
                continue
            need = ReadHoldings(stripe_id=step.target, rules=tuple(rules), body=body)
            holdings = await self._holdings(need)
            for holding in () if isinstance(holdings, Unseen) else holdings:
                if holding.ours and not holding.follows:
                    settling.move_first(step, holding.resource, holding.stripe_id, nested(holding.parameter, new[0]))


def _further_objects(rules: Rules, hits: Mapping[str, Found]) -> list[str]:
    """Objects in use that have the tag of a row with a newer one: the state was lost before they had ended."""
    return [str(body["id"]) for hit in hits.values() if hit.by == TAG_FIELD for body in in_use(rules, hit.objects)[1:]]
