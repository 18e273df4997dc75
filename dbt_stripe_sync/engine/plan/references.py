"""Finds existing objects in Stripe by the values that rows have.

The results are in the workspace, so that an account with millions of objects isn't held in memory.

Lists are consistent and search is not (docs.stripe.com/search#data-freshness: usually a minute behind, sometimes more).
So objects that a search doesn't find are also looked for among the newest objects. If that isn't enough, because a lost
row would be created again, everything is listed.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
from msgspec import Struct, field

from dbt_stripe_sync.engine.decide.rules import Found
from dbt_stripe_sync.engine.plan.listing import PAGE, everything
from dbt_stripe_sync.engine.plan.reads import read_together
from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.counting import counted
from dbt_stripe_sync.model.errors import ReadLimitError, StripeError
from dbt_stripe_sync.model.objects import EMAIL, NEAR_EMAIL, TAG_FIELD, created_at, indexed_value
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.model.tables import build_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.engine.stage.workspace import Workspace
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.model.params import Catalog

SEARCH_LAG = timedelta(hours=1)
AT_ONCE = 32
_METADATA = "metadata."
_OBJECTS = pa.schema([("resource", pa.string()), ("id", pa.string()), ("created", pa.int64()), ("body", pa.string())])
_ASKED = pa.schema([("key", pa.string()), ("rank", pa.int32()), ("field", pa.string()), ("value", pa.string())])
_VALUES = pa.schema([("resource", pa.string()), ("field", pa.string()), ("value", pa.string()), ("id", pa.string())])


class _Known(Struct):
    """What has been asked about one resource so far."""

    listed_by: set[str] = field(default_factory=set)
    asked: set[tuple[str, str]] = field(default_factory=set)
    failed: set[tuple[str, str]] = field(default_factory=set)
    recent: set[str] = field(default_factory=set)
    places: dict[tuple[str, ...], bool] = field(default_factory=dict)
    objects: int = 0
    cannot_search: bool = False


class ExistingObjects:
    """Finds objects by value, by listing all objects or by looking up each value, whichever is cheaper.

    It asks only once.
    """

    def __init__(self, workspace: Workspace, stripe: Stripe, catalog: Catalog, clock: Clock) -> None:
        self._workspace = workspace
        self._stripe = stripe
        self._catalog = catalog
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)
        workspace.execute(
            "CREATE OR REPLACE TABLE work.objects(resource VARCHAR, id VARCHAR, created BIGINT, body VARCHAR)"
        )
        workspace.execute(
            "CREATE OR REPLACE TABLE work.object_values(resource VARCHAR, field VARCHAR, value VARCHAR, id VARCHAR)"
        )
        workspace.execute(
            "CREATE OR REPLACE TABLE work.lookups(resource VARCHAR, field VARCHAR, value VARCHAR, id VARCHAR)"
        )

    async def list_candidates(self, resource: str, by: str, params: Mapping[str, Any]) -> bool:
        """Load every object that could have been created with these parameters into the workspace, by a field.

        Objects of a nested resource are listed under the parent that the parameters name. Returns false if Stripe has
        no such list. Raises `StripeError`.
        """
        self._known.setdefault(resource, _Known())
        if self._operation(resource, "list") is None:
            return False
        parents = self._parents(resource)
        if not parents:
            await self.ask(resource, [(by, "")], complete=True)
            return True
        if any(name not in params for name in parents):
            return False
        async for page in self._everything(resource, {name: params[name] for name in parents}):
            self._keep(resource, page, {by})
        return True

    async def list_under(self, resource: str, rows: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
        """Load the tagged objects of a nested resource that belong to the same objects as some rows, by parameters.

        An object that this plan creates has none yet. Returns the keys of the rows for which Stripe did not answer.
        """
        known = self._known.setdefault(resource, _Known())
        parents = self._parents(resource)
        places = {key: tuple(str(row.get(name)) for name in parents) for key, row in rows.items()}
        there = {
            places[key]: row
            for key, row in rows.items()
            if parents and all(isinstance(row.get(name), str) for name in parents) and places[key] not in known.places
        }
        await read_together(self._list_place(resource, place, row) for place, row in there.items())
        return frozenset(key for key, place in places.items() if known.places.get(place) is False)

    async def _list_place(self, resource: str, place: tuple[str, ...], row: Mapping[str, Any]) -> None:
        try:
            async with self._gate:
                await self.list_candidates(resource, TAG_FIELD, row)
        except StripeError:
            self._known[resource].places[place] = False
        else:
            self._known[resource].places[place] = True

    def _parents(self, resource: str) -> tuple[str, ...]:
        """The parameters without which Stripe doesn't list a resource."""
        operation = self._operation(resource, "list")
        required = [name for name, param in operation.params.items() if param.required] if operation else []
        return tuple(dict.fromkeys((*operation.path_params, *required))) if operation else ()

    def listed(self, resource: str) -> Iterator[Mapping[str, Any]]:
        """The objects of a resource that were found so far, newest first."""
        query = "SELECT body FROM work.objects WHERE resource = $resource ORDER BY created DESC, id"
        for (body,) in self._workspace.all(query, {"resource": resource}):
            yield orjson.loads(body)

    async def look_at(self, resource: str, tags: Mapping[str, str]) -> None:
        """Read objects that rows had, by their ids, and find those that still carry the row's tag."""
        known = self._known.setdefault(resource, _Known())
        missing = {stripe_id: tag for stripe_id, tag in tags.items() if (TAG_FIELD, tag) not in known.asked}
        await read_together(self._look_at(resource, stripe_id, tag) for stripe_id, tag in missing.items())

    async def _look_at(self, resource: str, stripe_id: str, tag: str) -> None:
        known = self._known[resource]
        try:
            async with self._gate:
                objects = await self._objects_by(resource, "id", stripe_id)
        except StripeError:
            known.failed.add((TAG_FIELD, tag))
            objects = ()
        known.asked.add((TAG_FIELD, tag))
        self._keep(resource, objects, {TAG_FIELD})

    def cost_of(self, resource: str, bys: Sequence[str], rows: int, *, complete: bool = False) -> tuple[int, float]:
        """The number of reads to find the objects of some rows by these fields, at best and at worst.

        It is infinity if all objects of the account are listed. The newest objects, which a search may miss, add a read
        for each 100 of them.
        """
        if complete or not all(self._can_look_up(resource, by) for by in bys):
            return 1, inf
        calls = rows * sum(self._calls_to_look_up(resource, by) for by in bys)
        recent = sum(_is_searched(by) for by in bys)
        # Before each value is looked up, lists are tried for up to the same cost.
        return 1, 2 * calls + recent

    async def ask(self, resource: str, wanted: Sequence[tuple[str, str]], *, complete: bool = False) -> str:
        """Make sure that the workspace has every object with one of the `wanted` values, pairs of field and value.

        `complete` lists everything whatever it costs. Returns how it was done, for the plan. Raises `StripeError` if a
        list fails; a single look-up that fails is remembered.
        """
        known = self._known.setdefault(resource, _Known())
        bys = {by for by, _ in wanted}
        missing = [pair for pair in dict.fromkeys(wanted) if pair[0] not in known.listed_by and pair not in known.asked]
        if not missing:
            return ""
        if complete or not all(self._can_look_up(resource, by) for by in bys):
            pages, _ = await self._list(resource, bys, most=None)
            return _listed(pages)
        calls = sum(self._calls_to_look_up(resource, by) for by, _ in missing)
        left = self._stripe.reads_left
        # Both ways are tried only if there are enough reads for both; otherwise the one that is certain to suffice.
        most = min(max(1, calls), left - calls if left > calls else left)
        if left != calls:
            pages, finished = await self._list(resource, bys, most=int(most))
            if finished:
                return _listed(pages)
        if self._stripe.reads_left < calls:
            raise ReadLimitError(calls)
        await read_together(self._look_up(resource, by, value) for by, value in missing)
        if known.cannot_search:
            # docs.stripe.com/search: merchants in India have no search, and a restricted key may lack permission for
            # it.
            known.failed.difference_update(missing)
            pages, _ = await self._list(resource, bys, most=None)
            return _listed(pages)
        return f"looked up {counted(len(missing), 'value')} one by one, cheaper than listing everything"

    def find(self, resource: str, wanted: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Found]:
        """For each row's key, the first of its wanted values that any object has. Rows without a match are left out."""
        known = self._known.setdefault(resource, _Known())
        # A first sync into a new account has nothing to search for its rows.
        found = self._find(resource, wanted) if known.objects else {}
        for key, pairs in wanted.items() if known.failed else ():
            failed = next((pair for pair in pairs if pair in known.failed), None)
            if failed is not None and key not in found:
                found[key] = Found(by=failed[0], objects=(), failed=True)
        return found

    def count(self, resource: str) -> int:
        """How many objects of a resource have been read so far; an object that was read twice may count twice."""
        return self._known[resource].objects if resource in self._known else 0

    def _find(self, resource: str, wanted: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Found]:
        rows = [(key, rank, by, value) for key, pairs in wanted.items() for rank, (by, value) in enumerate(pairs)]
        if not rows:
            return {}
        asked = build_table(_ASKED, rows).to_reader
        self._workspace.fill("CREATE OR REPLACE TABLE work.asked AS SELECT * FROM incoming", asked)
        hits = self._workspace.all(
            """
            SELECT a.key, a.field, list(o.body ORDER BY o.created DESC, o.id)
            FROM work.asked AS a
            JOIN work.object_values AS v ON v.resource = $resource AND v.field = a.field AND v.value = a.value
            JOIN work.objects AS o ON o.resource = v.resource AND o.id = v.id
            GROUP BY a.key, a.rank, a.field
            QUALIFY row_number() OVER (PARTITION BY a.key ORDER BY a.rank) = 1
            """,
            {"resource": resource},
        )
        return {
            key: Found(by=by, objects=tuple(orjson.loads(body) for body in dict.fromkeys(bodies)))
            for key, by, bodies in hits
        }

    def failed_values(self, resource: str, by: str) -> Sequence[str]:
        """The values of a field for which a search has failed, so it isn't known whether an object has them."""
        return [value for failed_by, value in self._known[resource].failed if failed_by == by]

    def is_searchable(self, resource: str) -> bool:
        """Whether Stripe can search a resource."""
        return self._operation(resource, "search") is not None

    async def _list(self, resource: str, bys: Iterable[str], most: int | None) -> tuple[int, bool]:
        """List a resource, up to `most` pages. Returns how many were read, and whether the list is complete."""
        if not self._operation(resource, "list"):
            return 0, most is not None
        pages = full = 0
        wanted = set(bys)
        # Everything that a list returns can be compared loosely, too, without another call.
        wanted |= {NEAR_EMAIL} if EMAIL in wanted else set()
        async for page in self._everything(resource, {}):
            pages += 1
            full += len(page) == PAGE
            self._keep(resource, page, wanted)
            if most is not None and full >= most:
                return pages, False
        self._known[resource].listed_by |= wanted
        return pages, True

    async def _look_up(self, resource: str, by: str, value: str) -> None:
        known = self._known[resource]
        known.asked.add((by, value))
        if known.cannot_search and _is_searched(by):
            known.failed.add((by, value))
            return
        try:
            async with self._gate:
                objects = await self._objects_by(resource, by, value)
        except StripeError:
            known.failed.add((by, value))
            return
        except BaseException:
            # There was no answer, which another sync of the plan must not mistake for "none found".
            known.asked.discard((by, value))
            raise
        self._keep(resource, objects, {by})

    async def _objects_by(self, resource: str, by: str, value: str) -> Sequence[Mapping[str, Any]]:
        if by == "id":
            answer = await self._stripe.send(Call(resource=resource, operation="retrieve", target=value))
            if answer.verdict is Verdict.DONE:
                return () if answer.is_missing else (answer.body,)
            if answer.is_missing:
                return ()
            raise StripeError([])
        name = self._filter(resource, by)
        if name is not None:
            pages = self._everything(resource, {name[0]: [value] if name[1] else value})
            return [found async for page in pages for found in page]
        # Exact matches in a search ignore case (docs.stripe.com/search, query language).
        searched = EMAIL if by == NEAR_EMAIL else f"metadata[{_search_text(by.removeprefix(_METADATA))}]"
        query = f"{searched}:{_search_text(value)}"
        answer = await self._stripe.send(
            Call(resource=resource, operation="search", params={"query": query, "limit": PAGE})
        )
        if answer.verdict is not Verdict.DONE:
            self._known[resource].cannot_search |= answer.verdict is Verdict.REFUSED
            raise StripeError([])
        await self._list_recent(resource, by)
        found: Sequence[Mapping[str, Any]] = answer.body.get("data", ())
        return found

    async def _list_recent(self, resource: str, by: str) -> None:
        known = self._known[resource]
        if by not in known.recent:
            known.recent.add(by)
            since = int((self._clock.now() - SEARCH_LAG).timestamp())
            try:
                async for page in self._everything(resource, {"created": {"gte": since}}):
                    self._keep(resource, page, {by})
            except BaseException:
                known.recent.discard(by)
                raise

    def _keep(self, resource: str, objects: Iterable[Mapping[str, Any]], bys: set[str]) -> None:
        kept = [found for found in objects if not found.get("deleted")]
        if not kept:
            return
        self._known[resource].objects += len(kept)
        bodies = [(resource, str(found["id"]), created_at(found), orjson.dumps(found).decode()) for found in kept]
        values = [
            (resource, by, str(value), str(found["id"]))
            for found in kept
            for by in bys
            if (value := indexed_value(found, by)) is not None
        ]
        self._insert("work.objects", "id", bodies, _OBJECTS)
        self._insert("work.object_values", "field, value, id", values, _VALUES)

    def _insert(self, table: str, unique: str, rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> None:
        if not rows:
            return
        join = " AND ".join(f"t.{name.strip()} = i.{name.strip()}" for name in ["resource", *unique.split(",")])
        self._workspace.fill(
            f"INSERT INTO {table} SELECT DISTINCT * FROM incoming AS i "
            f"WHERE NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {join})",
            build_table(schema, rows).to_reader,
        )

    async def _everything(self, resource: str, params: Mapping[str, Any]) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        known = self._catalog.resource(resource)
        if known is not None:
            async for page in everything(self._stripe, known, params):
                yield page

    def _calls_to_look_up(self, resource: str, by: str) -> int:
        """The number of calls to find the objects with one value of a field."""
        known = self._catalog.resource(resource)
        is_filter = known is not None and by != "id" and self._filter(resource, by) is not None
        return len(known.lifecycle.listed_with) if known is not None and is_filter else 1

    def _operation(self, resource: str, name: str) -> Any:
        known = self._catalog.resource(resource)
        return known.operations.get(name) if known else None

    def _filter(self, resource: str, by: str) -> tuple[str, bool] | None:
        """The parameter of `list` that filters by a field, and whether it accepts a list."""
        operation = self._operation(resource, "list")
        for name in (by, f"{by}s"):
            param = operation.params.get(name) if operation else None
            if param is not None:
                return name, param.kind is ParamKind.LIST
        return None

    def _can_look_up(self, resource: str, by: str) -> bool:
        if by == "id":
            return self._operation(resource, "retrieve") is not None
        if _is_searched(by):
            known = self._known.get(resource)
            can_search = self._operation(resource, "search") is not None
            return can_search and not (known is not None and known.cannot_search)
        return self._filter(resource, by) is not None


def _is_searched(by: str) -> bool:
    """Whether objects are found by a field with a search, because no list filters by it."""
    return by.startswith(_METADATA) or by == NEAR_EMAIL


def _listed(pages: int) -> str:
    """A note on a listing; empty if Stripe had nothing to list."""
    return f"compared with all existing objects ({pages:,} {'page' if pages == 1 else 'pages'} listed)" if pages else ""


def _search_text(text: str) -> str:
    # Quotes inside a value are escaped with a backslash (docs.stripe.com/search, query language).
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
