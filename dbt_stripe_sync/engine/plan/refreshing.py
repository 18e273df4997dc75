"""Reads owned objects back from Stripe, to find those that others changed, deleted, or ended.

A sync's objects are listed as long as pages contain enough of them; the rest is read one by one. An object that a list
doesn't return is read by its id before it counts as deleted. Every plan reads the object of a drifted row until it
matches again. With `--refresh` or after `refresh_every`, a plan reads all of a sync's objects.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
from msgspec import Struct, field

from dbt_stripe_sync.engine.payload.drift import find_drift
from dbt_stripe_sync.engine.payload.layout import KEY
from dbt_stripe_sync.engine.plan.listing import PAGE, everything
from dbt_stripe_sync.engine.plan.reads import read_together
from dbt_stripe_sync.engine.plan.references import AT_ONCE
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.codec import canonical
from dbt_stripe_sync.model.counting import with_article
from dbt_stripe_sync.model.errors import Problem, ReadLimitError
from dbt_stripe_sync.model.plan import Note, ObjectSeen, ReadBack, ReadingCost, SettledDrift
from dbt_stripe_sync.model.record import REBUILT
from dbt_stripe_sync.model.sql import quoted
from dbt_stripe_sync.model.sync import PART_SEPARATOR, OnDrift, WhenEnded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.plan.plan_file import PlanWriter
    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.fingerprints import Fingerprints
    from dbt_stripe_sync.model.params import Catalog, Resource
    from dbt_stripe_sync.model.sync import Sync

# After this many pages without owned objects, reading one by one is assumed to be cheaper. This adds a tenth to its
# cost.
FRUITLESS = 10
_TEXT = pa.string()
_FOUND = pa.schema(
    {
        "sync": _TEXT,
        "key": _TEXT,
        "missing": pa.bool_(),
        "body": _TEXT,
        "digest": _TEXT,
        "is_known": pa.bool_(),
        "author": _TEXT,
    }
)
_READ = pa.schema({"key": _TEXT})


class Reading(Struct, kw_only=True):
    """How many of one sync's objects have been read. `is_whole` says that all of them are read."""

    staged: Staged
    resource: Resource
    is_whole: bool
    expand: tuple[str, ...]
    objects: int = 0
    pages: int = 0
    single: int = 0
    items: int = 0
    unanswered: int = 0


class Refreshing(Struct, kw_only=True):
    """Reads objects back for the syncs of one plan; `asks_all` means `--refresh`.

    The results are in `work.read_back`, where rows are compared with them. Changes that only affect records are added
    to the plan.
    """

    workspace: Workspace
    stripe: Stripe
    fingerprints: Fingerprints
    writer: PlanWriter
    clock: Clock
    asks_all: bool = False
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    def costs(self, syncs: Iterable[Sync], catalog: Catalog) -> tuple[ReadingCost, ...]:
        """The expected cost of reading back, before anything is read, for each sync that needs it."""
        return tuple(cost for sync in syncs if (cost := self._cost(sync, catalog.resources[sync.resource])) is not None)

    async def read(self, staged: Staged, resource: Resource) -> tuple[list[Note], list[Problem]]:
        """Read a sync's objects back. Returns how that was done, and what could not be read. Raises `StripeError`."""
        sync = staged.sync
        is_due = self._is_due(sync)
        if not _is_readable(resource):
            return (
                [Note(text=f"{with_article(resource.name)} can't be read back from Stripe")] if self.asks_all else []
            ), []
        shown = {mapped.path[0] for mapped in sync.fields} & set(resource.lifecycle.shown_if_asked)
        reading = Reading(staged=staged, resource=resource, is_whole=is_due, expand=tuple(sorted(shown)))
        reading.objects = self._prepare(reading)
        if reading.objects:
            least, is_listed = _least_calls(reading.objects, resource)
            if least > self.stripe.reads_left:
                raise ReadLimitError(least)
            if is_listed:
                await self._list(reading)
            await self._read_rest(reading)
        if is_due and not reading.unanswered:
            self.writer.note(ReadBack(sync=sync.name, at=self.clock.now()))
        return list(_notes(reading)), list(_unanswered(reading))

    def reads_back(self, sync: Sync, resource: Resource) -> bool:
        """Whether any of a sync's objects will be read."""
        return self._cost(sync, resource) is not None

    # ── which, and at what cost ──────────────────────────────────────────────────────────────────────────────────

    def _is_due(self, sync: Sync) -> bool:
        if self.asks_all or sync.refresh_every is None:
            return self.asks_all
        row = self.workspace.one("SELECT read_at FROM read_backs WHERE sync = $sync", {"sync": sync.name})
        return not row or self.clock.now() - datetime.fromisoformat(row[0]) >= sync.refresh_every

    def _cost(self, sync: Sync, resource: Resource) -> ReadingCost | None:
        if not _is_readable(resource):
            return None
        query = (
            "SELECT count(*) FROM known_records AS r WHERE r.sync = $sync AND NOT r.removed"
            if self._is_due(sync)
            else "SELECT count(*) FROM known_drift AS r WHERE r.sync = $sync AND $watched"
        )
        values: dict[str, Any] = {"sync": sync.name}
        if "$watched" in query:
            values["watched"] = _is_watched(sync)
        (objects,) = self.workspace.one(query, values)
        if not objects:
            return None
        least, is_listed = _least_calls(objects, resource)
        return ReadingCost(
            sync=sync.name,
            objects=objects,
            least=least,
            most=objects + _fruitless(objects) if is_listed else objects,
        )

    def _prepare(self, reading: Reading) -> int:
        """Collect what to read: rows in the model with an object whose record can be compared."""
        staged = reading.staged
        self.workspace.execute(
            f"""
            CREATE OR REPLACE TABLE work.reading AS
            SELECT DISTINCT r.key, r.stripe_id, r.params, r.salt, r.missing, d.digest
            FROM known_records AS r
            JOIN {staged.table} AS s ON s.{quoted(KEY)} = r.key
            LEFT JOIN known_drift AS d ON d.sync = r.sync AND d.key = r.key
            WHERE r.sync = $sync AND NOT r.removed AND r.payload_hash IS DISTINCT FROM $rebuilt
              AND ($whole OR ($watched AND d.key IS NOT NULL))
              AND r.key NOT IN (SELECT key FROM {staged.duplicates})
              AND r.key NOT IN (SELECT key FROM work.unsettled WHERE sync = $sync)
            """,
            {
                "sync": staged.sync.name,
                "rebuilt": REBUILT,
                "whole": reading.is_whole,
                "watched": _is_watched(staged.sync),
            },
        )
        self.workspace.execute("CREATE OR REPLACE TABLE work.was_read(key VARCHAR)")
        return int(self.workspace.one("SELECT count(*) FROM work.reading")[0])

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _list(self, reading: Reading) -> None:
        """List until all objects are found, or until pages contain so few that reading one by one is cheaper."""
        can_read = "retrieve" in reading.resource.operations
        found = 0
        params = {"expand": [f"data.{name}" for name in reading.expand]} if reading.expand else {}
        async for page in everything(self.stripe, reading.resource, params):
            reading.pages += 1
            bodies = {str(body["id"]): body for body in page if not body.get("deleted")}
            rows = self._rows(
                "SELECT * FROM work.reading WHERE stripe_id IN (SELECT unnest($ids)) "
                "AND key NOT IN (SELECT key FROM work.was_read)",
                {"ids": list(bodies)},
            )
            found += len(rows)
            await self._compare(reading, [(row, bodies[row["stripe_id"]]) for row in rows])
            is_fruitful = found >= reading.pages or reading.pages < _fruitless(reading.objects)
            if found >= reading.objects or (can_read and not is_fruitful):
                return

    async def _read_rest(self, reading: Reading) -> None:
        """Read the objects that no page contained, one by one."""
        if "retrieve" not in reading.resource.operations:
            (left,) = self.workspace.one(
                "SELECT count(*) FROM work.reading WHERE key NOT IN (SELECT key FROM work.was_read)"
            )
            reading.unanswered += left
            return
        self.workspace.execute(
            "CREATE OR REPLACE TABLE work.rest AS SELECT * FROM work.reading "
            "WHERE key NOT IN (SELECT key FROM work.was_read)"
        )
        for batch in self.workspace.batches("SELECT * FROM work.rest ORDER BY key"):
            reading.single += len(batch)
            bodies = await read_together(self._retrieve(reading, row) for row in batch)
            answered = [(row, body) for row, body in zip(batch, bodies, strict=True) if body is not None]
            reading.unanswered += len(batch) - len(answered)
            await self._compare(reading, answered)

    async def _retrieve(self, reading: Reading, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """An object: empty if Stripe has none, None if it could not be read."""
        record: dict[str, Any] = orjson.loads(row["params"])
        path = {name: record[name] for name in _path_params(reading.resource) if name in record}
        expand = {"expand": list(reading.expand)} if reading.expand else {}
        async with self.gate:
            answer = await self.stripe.send(
                Call(
                    resource=reading.resource.name,
                    operation="retrieve",
                    target=row["stripe_id"],
                    params={**path, **expand},
                )
            )
        if answer.is_missing:
            return {}
        return answer.body if answer.verdict is Verdict.DONE else None

    async def _with_items(self, reading: Reading, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The same object, with all items of lists that it only returns in part."""
        whole = dict(body)
        for name, rule in reading.resource.lifecycle.item_lists.items():
            page = body.get(name)
            if rule.listed_by is not None and isinstance(page, dict) and page.get("has_more"):
                resource, parent = rule.listed_by
                pages = self.stripe.pages(resource, {parent: str(body["id"]), "limit": PAGE})
                items: list[Mapping[str, Any]] = []
                async for more in pages:
                    reading.items += 1
                    items += more
                whole[name] = {**page, "data": items, "has_more": False}
        return whole

    # ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _compare(self, reading: Reading, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """Compare objects with their records, and keep those that differ."""
        sync = reading.staged.sync.name
        found = []
        for row, shown in pairs:
            body = await self._with_items(reading, shown) if shown else shown
            key = str(row["key"])
            if not body and reading.staged.sync.part_of is not None:
                continue  # the sync that created the object reports it
            is_missing = not body
            if is_missing != bool(row["missing"]):
                self.writer.note(ObjectSeen(sync=sync, key=key, missing=is_missing))
            digest = self._digest(reading, row, body)
            if digest is None and row["digest"] is not None:
                self.writer.note(SettledDrift(sync=sync, key=key))
            if digest is not None or is_missing or row["missing"]:
                text = orjson.dumps(body).decode() if digest is not None else None
                found.append((sync, key, is_missing, text, digest, digest == row["digest"]))
        self.workspace.insert("work.was_read", _READ, [(row["key"],) for row, _ in pairs])
        authors = self._authors(sync, [key for _, key, _, _, digest, _ in found if digest is not None])
        rows = [(*entry, authors.get(entry[1])) for entry in found]
        self.workspace.insert("work.read_back", _FOUND, rows)

    def _authors(self, sync: str, keys: Sequence[str]) -> dict[str, str]:
        """The objects that another row has written to since their own rows did."""
        if not keys:
            return {}
        found = self.workspace.all(
            """
            SELECT r.key, arg_max(w.sync, w.finished_at), arg_max(w.key, w.finished_at)
            FROM known_records AS r JOIN known_writes AS w
              ON w.stripe_id = r.stripe_id AND w.sync <> r.sync
              AND NOT starts_with(w.sync, r.sync || $part) AND NOT starts_with(r.sync, w.sync || $part)
              AND w.finished_at > r.updated_at
            WHERE r.sync = $sync AND r.key IN (SELECT unnest($keys)) GROUP BY r.key
            """,
            {"sync": sync, "keys": list(keys), "part": PART_SEPARATOR},
        )
        return {key: f"row [{other}] of sync `{name}` wrote to it last" for key, name, other in found}

    def _digest(self, reading: Reading, row: Mapping[str, Any], body: Mapping[str, Any]) -> str | None:
        """A digest of an object's drift, or None."""
        known, sync = self.fingerprints, reading.staged.sync
        if not body or not known.can_read(row["salt"]):
            return None
        status = body.get("status")
        if status in reading.resource.lifecycle.ended:
            what: Any = [row["stripe_id"], status]
        else:
            drift = find_drift(known.parse(row["params"], row["salt"], row["key"]), body, reading.resource)
            if not drift.fields:
                return None
            what = [row["stripe_id"], [[list(part.path), part.theirs] for part in drift.fields]]
        if known.current is not None and not known.retention.keeps(sync.name):
            return known.current.digest(row["key"], what)
        return sha256(canonical(what).encode()).hexdigest()

    def _rows(self, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [row for batch in self.workspace.batches(query, values) for row in batch]


def _is_watched(sync: Sync) -> bool:
    """Whether every plan reads a drifted object: it waits for a person, or for a change that resolves the drift."""
    return sync.on_drift is not OnDrift.KEEP or sync.when_ended is WhenEnded.RESTART


def _fruitless(objects: int) -> int:
    return max(1, objects // FRUITLESS)


def _least_calls(objects: int, resource: Resource) -> tuple[int, bool]:
    """The smallest number of calls that read this many objects, and whether that uses lists."""
    is_listed = objects > 1 and "list" in resource.operations and not _parents(resource)
    return (ceil(objects / PAGE) if is_listed else objects), is_listed


def _is_readable(resource: Resource) -> bool:
    operations = resource.operations
    return "retrieve" in operations or ("list" in operations and not _parents(resource))


def _path_params(resource: Resource) -> list[str]:
    return [name for name, param in resource.params.items() if param.in_path]


def _parents(resource: Resource) -> list[str]:
    """The parameters that a list requires: objects of a nested resource can only be listed for their parent."""
    operation = resource.operations["list"]
    required = [name for name, param in operation.params.items() if param.required]
    return [*operation.path_params, *required]


def _notes(reading: Reading) -> Iterator[Note]:
    if not reading.objects:
        return
    calls = reading.pages + reading.single + reading.items
    how = [f"{reading.pages:,} of lists"] if reading.pages else []
    how += [f"{reading.single:,} one by one"] if reading.single else []
    how += [f"{reading.items:,} of their items"] if reading.items else []
    with_calls = f"{calls:,} {'call' if calls == 1 else 'calls'} ({', '.join(how)})"
    yield Note(text=f"{_objects(reading.objects)} read back from Stripe with {with_calls}")


def _unanswered(reading: Reading) -> Iterator[Problem]:
    if reading.unanswered:
        sync = reading.staged.sync
        yield Problem(
            code="not-read-back",
            summary=f"{_objects(reading.unanswered)} of `{sync.name}` could not be read back",
            where=sync.where,
            hint="check that the key may read them (`dbt-stripe-sync debug`), and run it again",
        )


def _objects(count: int) -> str:
    return f"{count:,} {'object' if count == 1 else 'objects'}"
