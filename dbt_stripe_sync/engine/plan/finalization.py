"""Finalizes objects once everything that belongs to them exists: an invoice after its items.

It is planned after every sync, in a separate lane. It waits for the object's own change and for those of all rows that
refer to it, and is skipped if one of them can't be sent. The record of a finalized object says so, so that it happens
once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from msgspec import Struct, field
from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.foresee import check_finish
from dbt_stripe_sync.engine.payload.builder import pending_id
from dbt_stripe_sync.engine.payload.compare import payload_hash
from dbt_stripe_sync.engine.payload.layout import KEY, REFS
from dbt_stripe_sync.engine.plan.reads import read_together
from dbt_stripe_sync.engine.plan.settling import id_of_end
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.change import Action, Change, FieldChange, PlannedCall, Ref, change_id
from dbt_stripe_sync.model.lifecycle import Removal
from dbt_stripe_sync.model.objects import object_value
from dbt_stripe_sync.model.plan import Note, SyncCounts
from dbt_stripe_sync.model.record import FINISHED, Record
from dbt_stripe_sync.model.sql import ID_SEPARATOR, key_order, literal, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.difference import RowDiff
    from dbt_stripe_sync.model.errors import Problem
    from dbt_stripe_sync.model.fingerprints import Fingerprints
    from dbt_stripe_sync.model.lifecycle import Finish
    from dbt_stripe_sync.model.sync import Sync

_REFERRERS = pa.schema(
    [(name, pa.string()) for name in ("parent", "sync", "key", "change_id")]
    + [("ends", pa.bool_()), ("ends_first", pa.bool_())]
)
_UNWRITTEN = pa.schema([(name, pa.string()) for name in ("parent", "sync", "key")])
# The change of a row that is not sent, and what that would do to the row's object.
_NOT_SENT = (None, False, None)


class Referrers(Struct, kw_only=True):
    """Which changes of a plan refer to which objects, for syncs whose objects are finalized or end."""

    workspace: Workspace
    parents: frozenset[str]
    ending: Callable[[], frozenset[str]] = frozenset

    def __post_init__(self) -> None:
        self.workspace.execute(
            "CREATE OR REPLACE TABLE work.referrers(parent VARCHAR, sync VARCHAR, key VARCHAR, "
            "change_id VARCHAR, ends BOOLEAN, ends_first BOOLEAN)"
        )
        # Separate from the others, because an object of a sync that only inserts keeps no other object from ending.
        self.workspace.execute("CREATE OR REPLACE TABLE work.unwritten(parent VARCHAR, sync VARCHAR, key VARCHAR)")

    def concern(self, sync: Sync) -> bool:
        """Whether a sync's rows refer to objects that this plan finalizes or ends."""
        return not self.parents.isdisjoint(sync.depends_on) or not self.ending().isdisjoint(sync.depends_on)

    def finalize(self, sync: Sync) -> bool:
        """Whether a sync's objects, or objects that its rows refer to, are finalized."""
        return sync.name in self.parents or not self.parents.isdisjoint(sync.depends_on)

    def add(self, sync: Sync, rows: Sequence[tuple[str, str | None, Change | None]]) -> None:
        """Note rows by their key, their `$refs` and their change; None for a row that is not sent."""
        found = [
            (parent, sync.name, key, *((change.id, _ends(change), _ends_first(change)) if change else _NOT_SENT))
            for key, refs, change in rows
            for parent in ((refs or "").split(ID_SEPARATOR))
        ]
        self.workspace.insert("work.referrers", _REFERRERS, found)

    def add_unwritten(self, sync: Sync, rows: Sequence[RowDiff]) -> None:
        """Note rows that differ from their objects because of the sync's mode. Their own objects wait, too."""
        found = [
            (parent, sync.name, row.key)
            for row in rows
            for parent in (row.stripe_id, *(row.refs or "").split(ID_SEPARATOR))
            if parent
        ]
        self.workspace.insert("work.unwritten", _UNWRITTEN, found)

    def add_unkeyed(self, staged: Staged) -> None:
        """Note rows without a key, which are not sent."""
        self.workspace.execute(
            f"INSERT INTO work.referrers SELECT unnest(string_split({quoted(REFS)}, {literal(ID_SEPARATOR)})), "
            f"{literal(staged.sync.name)}, {quoted(KEY)}, NULL, false, NULL FROM {staged.table} "
            f"WHERE {quoted(KEY)} IS NULL OR {quoted(KEY)} IN (SELECT key FROM {staged.duplicates})"
        )

    def add_left_out(self, staged: Staged) -> None:
        """Note rows that differ and that this plan doesn't compare, including rows to be removed."""
        refs = f"unnest(string_split(coalesce(s.{quoted(REFS)}, r.refs), {literal(ID_SEPARATOR)}))"
        self.workspace.execute(
            f"INSERT INTO work.referrers SELECT {refs}, $sync, c.key, NULL, false, NULL FROM {staged.left_out} AS c "
            f"LEFT JOIN {staged.table} AS s ON s.{quoted(KEY)} = c.key "
            "LEFT JOIN (SELECT key, refs FROM known_records WHERE sync = $sync) AS r ON r.key = c.key "
            "WHERE c.kind <> 'removed' OR $removes",
            {"sync": staged.sync.name, "removes": staged.sync.on_removed is not Removal.IGNORE},
        )

    def withhold(self, changes: Sequence[str]) -> None:
        """Note that these changes are not sent after all."""
        self.workspace.execute(
            "UPDATE work.referrers SET change_id = NULL WHERE change_id IN (SELECT unnest($ids))",
            {"ids": list(changes)},
        )

    def withhold_all(self, sync: str) -> None:
        """Note that none of a sync's changes is sent after all."""
        self.workspace.execute(
            "UPDATE work.referrers SET change_id = NULL, ends = false WHERE sync = $sync", {"sync": sync}
        )

    def read(self) -> dict[str, list[str | None]]:
        """The changes of the rows that refer to each object, or did until now, by its id."""
        rows = self.workspace.all(
            """
            SELECT parent, list(change_id) FROM (
                WITH noted AS (
                    SELECT parent, sync, key, change_id FROM work.referrers
                    UNION ALL SELECT parent, sync, key, NULL FROM work.unwritten
                )
                SELECT parent, change_id FROM noted
                UNION
                SELECT unnest(string_split(r.refs, $separator)), p.change_id
                FROM noted AS p JOIN known_records AS r ON r.sync = p.sync AND r.key = p.key
                WHERE NOT r.removed
            ) WHERE parent <> '' GROUP BY parent
            """,
            {"separator": ID_SEPARATOR},
        )
        return dict(rows)


class Finalization(Struct, kw_only=True):
    """Plans the finalization of one sync's objects.

    `ends` says of each change that does owed steps whether it is in the plan, and `earlier` has those of earlier runs
    whose objects may be a part of one of these.
    """

    workspace: Workspace
    stripe: Stripe
    fingerprints: Fingerprints
    writer: PlanWriter
    staged: Staged
    steps: tuple[Finish, ...]
    rejected: frozenset[str]
    referrers: Mapping[str, Sequence[str | None]]
    ends: Mapping[str, bool]
    earlier: Sequence[Change]
    still_there: dict[str, list[str]] = field(default_factory=dict)
    planned: set[str] = field(default_factory=set)
    count: int = 0
    calls: int = 0
    waiting: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def sync(self) -> Sync:
        """The sync whose objects are finalized."""
        return self.staged.sync

    @property
    def lane(self) -> str:
        """The name of the lane in the plan."""
        return f"{self.sync.name}: {self.steps[-1].name}"

    async def plan(self) -> SyncCounts:
        """Write the changes, and return their counts."""
        for change in self.earlier:
            await self._note_earlier(change)
        for change in self.writer.changes_of(self.sync.name):
            self.planned.add(change.key)
            if not change.removed and FINISHED not in change.desired:
                is_new = change.calls[0].creates
                body = None if is_new else await self._read_object(change.stripe_id)
                if is_new or self._status(body) in {step.status for step in self.steps}:
                    self._finish(change, body)
        for batch in self.workspace.batches(self._unfinished(), {"sync": self.sync.name}):
            left = [row for row in batch if row["key"] not in self.planned and row["key"] not in self.rejected]
            bodies = await read_together(self._read_object(row["stripe_id"]) for row in left)
            self._take(list(zip(left, bodies, strict=True)))
        notes = (
            (Note(text="waits until its own row, and every row that refers to it, is sent", rows=self.waiting),)
            if self.waiting
            else ()
        )
        self.writer.end_sync(self.lane, keep=True)
        return SyncCounts(
            sync=self.lane,
            part_of=self.sync.name,
            model=self.sync.model.name,
            resource=self.sync.resource,
            rows=self.count + self.waiting + len(self.problems),
            rejected=len(self.problems),
            by_action={Action.UPDATE.value: self.count} if self.count else {},
            calls=self.calls,
            notes=notes,
        )

    def held(self, reason: str) -> SyncCounts:
        """Finalize none of the objects, for a reason."""
        notes = (Note(text=f"not done yet: {reason}"),)
        return SyncCounts(
            sync=self.lane,
            part_of=self.sync.name,
            model=self.sync.model.name,
            resource=self.sync.resource,
            notes=notes,
        )

    def give_up(self, reason: str) -> SyncCounts:
        """Stop finalizing after some changes were planned, for a reason."""
        self.writer.end_sync(self.lane, keep=False)
        return self.held(reason)

    def _take(self, rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any] | None]]) -> None:
        statuses = {step.status for step in self.steps}
        done = [self._record(row) for row, body in rows if body is not None and self._status(body) not in statuses]
        # Somebody has finalized it by hand, or a run did and was stopped before it could record that.
        for record in done:
            self.writer.refresh(record)
        for row, body in rows:
            if self._status(body) in statuses:
                self._finish(self._unchanged(row), body)

    def _finish(self, change: Change, body: Mapping[str, Any] | None) -> None:
        """Plan the finalization of an object: all steps for a new one, the remaining steps for one in Stripe."""
        status = self._status(body)
        statuses = [step.status for step in self.steps]
        steps = self.steps[statuses.index(status) :] if status is not None else self.steps
        if body is not None:
            held = {**body, **change.desired}
            lacking = [problem for step in steps for problem in check_finish(self.sync, change.key, step, held)]
            if lacking:
                self.problems += lacking[:1]
                return
        target: str | Ref | None = change.stripe_id
        parents = [pending_id(change.sync, change.key), change.stripe_id]
        first: tuple[str, ...] = ()
        if change.calls:
            first = (change.id,)
            if change.calls[0].creates:
                target = Ref(sync=change.sync, key=change.key)
        referring = [other for parent in parents if parent for other in self._waits_for(parent)]
        if None in referring:
            self.waiting += 1
            return
        calls = tuple(PlannedCall(operation=step.operation, target=target, params={}) for step in steps)
        self.writer.add(
            replace(
                change,
                id=f"{change.id}#{self.steps[-1].name}",
                action=Action.UPDATE,
                stripe_id=target if isinstance(target, str) else None,
                calls=calls,
                desired={**change.desired, FINISHED: self._done},
                changed=(FieldChange(path=self.steps[-1].status_field, before=status, after=self.steps[-1].becomes),),
                depends_on=(*first, *dict.fromkeys(other for other in referring if other is not None)),
                reason=f"`{self.steps[-1].name}` is set, and every row that belongs to it is written",
                found_by=None,
            )
        )
        self.count += 1
        self.calls += len(calls)

    def _waits_for(self, parent: str) -> Iterator[str | None]:
        """The changes that an object waits for, with the ends of replaced objects; None for one that isn't sent."""
        for change in self.referrers.get(parent, ()):
            yield change
            if change is not None and (end := id_of_end(change)) in self.ends:
                yield end if self.ends[end] else None
        for end in self.still_there.get(parent, ()):
            yield end if self.ends[end] else None

    async def _note_earlier(self, change: Change) -> None:
        """Note which objects the target of an owed step belongs to, as long as Stripe still has it."""
        answer = await self.stripe.send(Call(resource=change.resource, operation="retrieve", target=change.stripe_id))
        for value in answer.body.values() if answer.verdict is Verdict.DONE else ():
            named = value.get("id") if isinstance(value, dict) else value
            if isinstance(named, str):
                self.still_there.setdefault(named, []).append(change.id)

    def _unfinished(self) -> str:
        """Rows whose record doesn't say that their object is finalized."""
        mark = literal(f'"{FINISHED}"')
        return (
            "SELECT r.key, r.stripe_id, r.params, r.salt, r.source_hash, r.refs, r.adopted FROM ("
            "SELECT sync, key, stripe_id, params, salt, source_hash, refs, adopted, removed FROM known_records "
            "UNION ALL SELECT *, false FROM work.adopted) AS r "
            f"JOIN {self.staged.table} AS s ON s.{quoted(KEY)} = r.key "
            f"WHERE r.sync = $sync AND NOT r.removed AND NOT contains(r.params, {mark}) "
            f"AND r.key NOT IN (SELECT key FROM {self.staged.duplicates}) ORDER BY {key_order('r.key')}"
        )

    @property
    def _done(self) -> list[str]:
        return [step.name for step in self.steps]

    async def _read_object(self, stripe_id: str | None) -> Mapping[str, Any] | None:
        """The current object, or None if Stripe could not be asked."""
        answer = await self.stripe.send(Call(resource=self.sync.resource, operation="retrieve", target=stripe_id))
        return answer.body if answer.verdict is Verdict.DONE else None

    def _status(self, body: Mapping[str, Any] | None) -> str | None:
        return str(object_value(body, self.steps[0].status_field)) if body is not None else None

    def _params(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return self.fingerprints.parse(row["params"], row["salt"], row["key"])

    def _record(self, row: Mapping[str, Any]) -> Record:
        params = {**self._params(row), FINISHED: self._done}
        return Record(
            sync=self.sync.name,
            key=row["key"],
            resource=self.sync.resource,
            stripe_id=row["stripe_id"],
            params=params,
            payload_hash=payload_hash(params),
            source_hash=row["source_hash"],
            refs=row["refs"],
            adopted=row["adopted"],
        )

    def _unchanged(self, row: Mapping[str, Any]) -> Change:
        """An object that needs no change of its own."""
        return Change(
            id=change_id(self.sync.name, row["key"]),
            action=Action.UPDATE,
            sync=self.sync.name,
            key=row["key"],
            resource=self.sync.resource,
            stripe_id=row["stripe_id"],
            calls=(),
            desired=self._params(row),
            changed=(),
            depends_on=(),
            source_hash=row["source_hash"],
            refs=row["refs"],
        )


def reasons_to_wait(
    sync: Sync, dependents: Sequence[str], planned: Mapping[str, SyncCounts], unsettled: frozenset[str]
) -> Iterator[str]:
    """Why none of a sync's objects may be finalized in this plan: something that belongs to them may be missing."""
    for name in (sync.name, *dependents):
        counts = planned.get(name)
        if counts is None:
            yield f"`{name}` refers to them and is not selected"
        elif counts.held is not None:
            yield f"`{name}` is held back"
        elif name in unsettled:
            yield f"`{name}` has unresolved changes of an earlier run"


def _ends_first(change: Change) -> bool | None:
    """Whether a replacement ends the old object before it creates the new one; None for any other change."""
    return change.ends_first if change.action is Action.REPLACE else None


def _ends(change: Change) -> bool:
    """Whether a change ends its own object immediately. A subscription that is canceled later continues until then."""
    return change.gone or (change.removed and change.action is Action.ARCHIVE)
