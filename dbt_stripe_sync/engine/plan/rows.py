"""Decides on the differing rows of one sync, batch by batch, and writes their changes to the plan."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pyarrow as pa

from dbt_stripe_sync.engine.decide.decide import decide
from dbt_stripe_sync.engine.decide.drift import drift_problem, drifted_object
from dbt_stripe_sync.engine.decide.replace import end_first
from dbt_stripe_sync.engine.decide.rules import NOTHING_SEEN, Decision, Keep, Observed, Refresh, Reject, Row, Rules
from dbt_stripe_sync.engine.payload.builder import pending_id
from dbt_stripe_sync.engine.plan.asking import decide_in_rounds
from dbt_stripe_sync.engine.plan.given_up import without_given_up
from dbt_stripe_sync.engine.stage.diff import read_differences
from dbt_stripe_sync.model.change import Action, Change
from dbt_stripe_sync.model.codec import canonical
from dbt_stripe_sync.model.difference import Kind
from dbt_stripe_sync.model.lifecycle import stays_when_replaced
from dbt_stripe_sync.model.objects import TAG_FIELD
from dbt_stripe_sync.model.plan import Note
from dbt_stripe_sync.model.sync import OnDrift

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dbt_stripe_sync.engine.decide.rules import Need
    from dbt_stripe_sync.engine.plan.shared import Planning
    from dbt_stripe_sync.engine.plan.tally import Tally
    from dbt_stripe_sync.engine.stage.diff import DiffCounts
    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.model.difference import RowDiff
    from dbt_stripe_sync.model.record import Record

_ADOPTED = pa.schema(
    [(name, pa.string()) for name in ("sync", "key", "stripe_id", "params", "salt")]
    + [("source_hash", pa.uint64()), ("refs", pa.string()), ("adopted", pa.bool_())]
)
_LEFT = Keep(note=Note(text="left for later by --limit"))
_PLANNED = pa.schema([("sync", pa.string()), ("key", pa.string()), ("id", pa.string()), ("former", pa.string())])


class RowPlanner:
    """Turns the differences of one sync into changes, batch by batch."""

    def __init__(self, planning: Planning, rules: Rules, staged: Staged, found: Tally) -> None:
        self._planning = planning
        self._rules = rules
        self._staged = staged
        self._found = found
        self._objects_checked = 0
        # Rows of the current batch whose objects others have changed, and whose own changes wait for a person.
        self._drifted: set[str] = set()

    async def plan_rows(self, counts: DiffCounts) -> None:
        """Decide on every row that differs."""
        if not any(counts.kinds.values()):
            return
        for batch in read_differences(self._planning.workspace, self._staged, self._planning.fingerprints):
            decided, observed = await self._decide(batch)
            decisions = self._take(batch, decided)
            self._note_uniques(batch, decisions)
            self._note_former(batch, observed)
            self._check_renamed(decided)
            self._note_referrers(batch, decisions)
            self._planning.progress.rows_compared(len(batch))
            # Progress is reported while a long table is planned.
            await asyncio.sleep(0)

    def _check_renamed(self, decisions: Sequence[Decision]) -> None:
        """Check the objects that were read since the last batch for those of a sync that was renamed."""
        objects = self._planning.observing.existing.count(self._rules.resource.name)
        if self._rules.tag_for is not None or objects == self._objects_checked:
            return
        if any(isinstance(change, Change) and change.action is Action.CREATE for change in decisions):
            self._planning.renamed.check_tags(self._rules.sync)
            self._objects_checked = objects

    async def _decide(self, batch: Sequence[RowDiff]) -> tuple[list[Decision], Mapping[str, Observed]]:
        """Decide on some rows. Also returns what was observed of them."""
        rules, build = self._rules, self._rules.builder.build
        rows = {
            diff.key: Row(diff=diff, payload=None if diff.kind is Kind.REMOVED else build(diff.key, diff.row))
            for diff in batch
        }
        observed: dict[str, Observed] = {key: _observed(rules, row.diff) for key, row in rows.items()}
        decided: dict[str, Decision] = {}

        def decide_and_claim(key: str) -> Decision:
            decision = decide(rules, rows[key], observed[key])
            # Immediately: the next row of this round must not adopt the same object.
            self._claim(rows[key].diff, decision)
            return decision

        async def answer(asked: Mapping[str, Need], seen: Mapping[str, Observed]) -> Mapping[str, Observed]:
            answers = await self._planning.observing.answer(rules, asked, seen, self._found.notes)
            return without_given_up(self._planning.workspace, rules, self._staged, asked, answers)

        async for fresh in decide_in_rounds(observed, decide_and_claim, answer):
            await self._planning.parent_limits.look_back(rules, fresh.values())
            decided |= {
                key: self._planning.parent_limits.check(rules, key, decision) for key, decision in fresh.items()
            }
        if other_salt := sum(diff.unreadable and observed[diff.key].body is not None for diff in batch):
            note = "the record was made with another salt, so it is compared with its object"
            self._found.row_notes[note] += other_salt
        self._drifted.clear()
        for row in rows.values():
            if row.diff.drifted is not None:
                self._note_drift(row, decided[row.diff.key])
        return [decided[diff.key] for diff in batch], observed

    def _note_drift(self, row: Row, decision: Decision) -> None:
        """Report which fields of an object others have changed, and have the state remember it."""
        rules, found = self._rules, self._found
        entry = drifted_object(rules, row, decision)
        if entry is None:
            return
        self._planning.writer.note(entry)
        if rules.sync.on_drift is OnDrift.REPORT and entry.changed:
            found.drifted += 1
            self._drifted.add(row.diff.key)
            found.same -= isinstance(decision, Refresh)
            found.keep_problems([drift_problem(rules, entry, decision)])
        elif entry.is_reported:
            found.row_notes["changed in Stripe by others, and `on_drift: keep` keeps it that way"] += 1

    def _claim(self, diff: RowDiff, decision: Decision) -> None:
        """Reserve an object that this row was matched to, so that no other row of the plan adopts it."""
        stripe_id = decision.record.stripe_id if isinstance(decision, Refresh) else None
        if isinstance(decision, Change) and decision.action is not Action.CREATE:
            stripe_id = decision.stripe_id
        if diff.stripe_id is None and stripe_id is not None:
            self._planning.observing.claim(self._rules.resource.name, stripe_id, self._rules.sync.name, diff.key)

    def _note_uniques(self, batch: Sequence[RowDiff], decisions: Sequence[Decision]) -> None:
        if not self._rules.lifecycle.uniques:
            return
        pairs: list[tuple[RowDiff, Sequence[Change]]] = []
        for diff, decision in zip(batch, decisions, strict=True):
            if isinstance(decision, Change):
                pairs.append((diff, end_first(decision) if decision.ends_first else (decision,)))
            elif diff.kind is Kind.REMOVED:
                pairs.append((diff, ()))
        self._planning.uniques.note(self._rules.resource, self._rules.sync.name, pairs)
        left = [diff for diff, decision in zip(batch, decisions, strict=True) if decision is _LEFT]
        self._planning.uniques.note_left(self._rules.resource, self._rules.sync.name, left)

    def _take(self, batch: Sequence[RowDiff], decided: Sequence[Decision]) -> list[Decision]:
        """Write what was decided on some rows, and return it without the changes that `--limit` leaves for later."""
        decisions = [self._within_limit(decision) for decision in decided]
        coming: list[tuple[str, str, str | None, str | None]] = []
        adopted: list[Record] = []
        for diff, decision in zip(batch, decisions, strict=True):
            if isinstance(decision, Reject):
                self._found.count_rejected(decision)
            elif isinstance(decision, Change):
                self._add(decision)
                coming += _published(decision)
            elif isinstance(decision, Refresh):
                self._refresh(diff, decision)
                adopted += [decision.record] if diff.stripe_id is None else []
            elif isinstance(decision, Keep) and decision.note is not None:
                self._found.row_notes[decision.note.text] += 1
        coming += [(record.sync, record.key, record.stripe_id, None) for record in adopted]
        if coming and self._rules.sync.name in self._planning.referenced:
            self._publish(coming)
        if adopted and self._rules.sync.name in self._planning.referrers.parents:
            self._keep_adopted(adopted)
        return decisions

    def _within_limit(self, decision: Decision) -> Decision:
        """The decision, or that `--limit` leaves it for later."""
        planning = self._planning
        if planning.room is None:
            return decision
        if isinstance(decision, Change) and planning.room > 0:
            planning.room -= 1
            return decision
        # The row that it refers to was probably left for later, too.
        is_orphan = isinstance(decision, Reject) and {p.code for p in decision.problems} == {"reference-not-found"}
        return _LEFT if isinstance(decision, Change) or (is_orphan and planning.room <= 0) else decision

    def _keep_adopted(self, records: Sequence[Record]) -> None:
        """Keep the records of adopted objects for the finalization in the same plan."""
        rows = [
            (r.sync, r.key, r.stripe_id, canonical(r.params), None, r.source_hash, r.refs, r.adopted) for r in records
        ]
        self._planning.workspace.insert("work.adopted", _ADOPTED, rows)

    def _refresh(self, diff: RowDiff, decision: Refresh) -> None:
        self._found.same += 1
        record = decision.record
        is_touched = (
            record.stripe_id == diff.stripe_id
            and record.params == diff.params
            and record.payload_hash == diff.payload_hash
            and diff.kind is Kind.CHANGED
            and not diff.unreadable
        )
        self._planning.writer.refresh(record, only_touched=is_touched)
        if decision.note is not None:
            self._found.row_notes[decision.note.text] += 1

    def _note_former(self, batch: Sequence[RowDiff], observed: Mapping[str, Observed]) -> None:
        """Note an object that a killed run replaced without removing its tag, because rows may keep referring to it."""
        if not stays_when_replaced(self._rules.lifecycle):
            return
        sync = self._rules.sync.name
        for diff in batch:
            found = observed[diff.key].found
            if found is not None and found.by == TAG_FIELD:
                for body in found.objects[1:]:
                    self._planning.writer.former(sync, diff.key, str(body["id"]))
                    row = {"sync": sync, "key": diff.key, "id": str(body["id"])}
                    self._planning.workspace.execute("INSERT INTO work.former VALUES ($sync, $key, $id)", row)

    def _note_referrers(self, diffs: Sequence[RowDiff], decisions: Sequence[Decision]) -> None:
        referrers, sync = self._planning.referrers, self._rules.sync
        pairs = list(zip(diffs, decisions, strict=True))
        if sync.name in referrers.parents:
            self._found.rejected_keys |= {diff.key for diff, decision in pairs if isinstance(decision, Reject)}
        if referrers.concern(sync):
            # What is finalized can't be corrected, so it waits for a person, too.
            waiting = frozenset() if referrers.parents.isdisjoint(sync.depends_on) else self._drifted
            referrers.add(
                self._rules.sync,
                [
                    (
                        diff.key,
                        diff.refs,
                        decision if isinstance(decision, Change) and diff.key not in waiting else None,
                    )
                    for diff, decision in pairs
                    if isinstance(decision, Change | Reject) or decision is _LEFT or diff.key in waiting
                ],
            )
        unwritten = [diff for diff, decision in pairs if isinstance(decision, Keep) and decision.is_unwritten]
        if unwritten and referrers.finalize(sync):
            referrers.add_unwritten(sync, unwritten)

    def _add(self, change: Change) -> None:
        """Write a change to the plan."""
        planning = self._planning
        if change.sync in planning.referred_to:
            planning.settling.note_end(change)
        if change.removed and self._rules.lifecycle.cuts_short:
            planning.settling.cutting_short.append(change)
        if change.removed and self._rules.lifecycle.used_by:
            planning.settling.in_use.append(change)
        planning.settling.note_user(change)
        for part in end_first(change) if change.ends_first else (change,):
            planning.writer.add(part)
            planning.settling.note(part)
            self._found.count_change(part)

    def _publish(self, rows: Sequence[tuple[str, str, str | None, str | None]]) -> None:
        """Tell the syncs that refer to this one which ids will appear and which will disappear."""
        self._planning.workspace.insert("work.planned", _PLANNED, rows)


def _observed(rules: Rules, diff: RowDiff) -> Observed:
    """What is already known of a row's object: a drifted one has just been read back."""
    if diff.drifted is None:
        return NOTHING_SEEN
    return Observed(body=diff.drifted, expanded=frozenset(rules.lifecycle.shown_if_asked))


def _published(change: Change) -> list[tuple[str, str, str | None, str | None]]:
    """The id that a change gives its row, and the one that it takes from it."""
    if change.gone:
        return [(change.sync, change.key, None, None)]
    if change.action is Action.ADOPT:
        return [(change.sync, change.key, change.stripe_id, None)]
    if change.action in {Action.CREATE, Action.REPLACE}:
        former = change.stripe_id if change.action is Action.REPLACE else None
        return [(change.sync, change.key, pending_id(change.sync, change.key), former)]
    return []
