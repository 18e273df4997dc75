"""Rows without a record, matched with what is in Stripe already: by our own tag, then as their sync says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dbt_stripe_sync.engine.decide.changes import Existing
from dbt_stripe_sync.engine.plan.references import TAG_FIELD
from dbt_stripe_sync.engine.stage.diff import read_forgotten
from dbt_stripe_sync.engine.stage.linking import keeps
from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.model.sync import OnAmbiguous
from dbt_stripe_sync.model.tag import build_tag

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.decide.changes import Rules
    from dbt_stripe_sync.engine.payload.builder import PayloadBuilder
    from dbt_stripe_sync.engine.plan.references import ExistingObjects, Found
    from dbt_stripe_sync.engine.stage.diff import RowDiff
    from dbt_stripe_sync.engine.stage.layout import Layout
    from dbt_stripe_sync.engine.stage.workspace import Workspace


@dataclass(slots=True, kw_only=True)
class Matching:
    """What the syncs of one plan share here. `claimed` has the row of each object that was found."""

    workspace: Workspace
    existing: ExistingObjects
    claimed: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)


class Matcher:
    """Finds the objects of one sync's new rows."""

    def __init__(self, shared: Matching, rules: Rules, layout: Layout, builder: PayloadBuilder) -> None:
        self._shared = shared
        self._rules = rules
        self._layout = layout
        self._builder = builder
        sync = rules.sync.name
        (records,) = shared.workspace.one("SELECT count(*) FROM records WHERE sync = $sync", {"sync": sync})
        self._is_first = not records
        self._forgotten = read_forgotten(shared.workspace, sync)

    def choose(self, diff: RowDiff, match: Found) -> Existing | Problem:
        """The object of a row among those that were found, or why it can't be one of them."""
        # An archived object gives way to one in use.
        objects = tuple(body for body in match.objects if body.get("active") is not False) or match.objects
        where = self._rules.sync.where.at_field("match").at_key(diff.key)
        if match.by == TAG_FIELD:
            if any(keeps(reference) for part in self._layout.parts for reference in part.references):
                return _kept_unknown(self._rules, diff)
            # One that was replaced keeps its tag: the row's object is the newest that is in use.
            objects = objects[:1]
        if len(objects) > 1 and self._rules.sync.on_ambiguous is OnAmbiguous.REJECT:
            ids = ", ".join(str(found["id"]) for found in objects)
            return Problem(
                code="ambiguous-match",
                summary=f"{len(objects)} existing objects match by `{match.by}`: {ids}",
                where=where,
                hint="set `on_ambiguous: newest` or `oldest`, or match by something unique",
            )
        body = objects[-1] if self._rules.sync.on_ambiguous is OnAmbiguous.OLDEST else objects[0]
        stripe_id = str(body["id"])
        here = (self._rules.sync.name, diff.key)
        owner = self._shared.claimed.setdefault((self._rules.resource.name, stripe_id), here)
        recorded = self._shared.workspace.one(
            "SELECT sync, key FROM records WHERE stripe_id = $id AND resource = $resource LIMIT 1",
            {"id": stripe_id, "resource": self._rules.resource.name},
        )
        if owner != here or recorded:
            name, key = owner if owner != here else recorded
            whose = f"row [{key}]" if name == here[0] else f"row [{key}] of sync `{name}`"
            return Problem(
                code="already-claimed",
                summary=f"{stripe_id}, found by `{match.by}`, belongs to {whose} already",
                where=where,
                hint="two rows can't share one object: match by something unique",
            )
        return Existing(body=body, by=match.by)

    async def match(self, diffs: Sequence[RowDiff], notes: Counter[str]) -> Mapping[str, Found]:
        """Existing objects for rows without a record."""
        sync, resource = self._rules.sync, self._rules.resource
        lifecycle = self._rules.lifecycle
        taggable = lifecycle.tagged and lifecycle.listed and "list" in resource.operations
        by_tag = self._is_first and taggable
        forgotten = self._forgotten if taggable else frozenset()
        if not diffs or not (by_tag or sync.match or forgotten):
            return {}
        wanted: dict[str, list[tuple[str, str]]] = {}
        for diff in diffs:
            # State that was lost must not make everything twice: on a sync's first run our own tag is looked for, and
            # later on that of a row whose record was taken away.
            is_asked = by_tag or diff.key in forgotten
            pairs = [(TAG_FIELD, build_tag(sync.project, sync.name, diff.key))] if is_asked else []
            for match in sync.match:
                text = self._builder.text(match.value, diff.row)
                pairs += [(match.by, text)] if text else []
            wanted[diff.key] = pairs
        note = await self._shared.existing.ask(
            resource.name, [pair for pairs in wanted.values() for pair in pairs], complete=by_tag
        )
        if note:
            notes[note] += 1
        return self._shared.existing.find(resource.name, wanted)


def _kept_unknown(rules: Rules, diff: RowDiff) -> Problem:
    return Problem(
        code="kept-unknown",
        summary="the row's object is there, and the state has lost which replaced objects it keeps",
        where=rules.sync.where.at_key(diff.key),
        hint="`dbt-stripe-sync state rebuild` reads it back from Stripe; then run it again",
    )


def not_asked(rules: Rules, diff: RowDiff) -> Problem:
    """A row of which Stripe could not say what it has: nothing is done with it."""
    return Problem(
        code="lookup-failed",
        summary="Stripe could not be asked for this row's object, so nothing is done with it",
        where=rules.sync.where.at_key(diff.key),
        hint="run it again",
    )
