"""Lists: filters, cursors and pages (docs.stripe.com/api/pagination)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox.errors import bad_request, no_such
from dbt_stripe_sync.sandbox.search import find_records, parse_query
from dbt_stripe_sync.sandbox.store import value_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dbt_stripe_sync.sandbox.family import ApiRequest, Family, Filter
    from dbt_stripe_sync.sandbox.store import Body, Record, Table
    from dbt_stripe_sync.sandbox.work import Work

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
_PAGING = frozenset({"limit", "starting_after", "ending_before", "expand"})
_RANGE = frozenset({"gt", "gte", "lt", "lte"})
# List parameters whose field has a different name, for every resource.
_ALIASES = {"ids": "id", "lookup_keys": "lookup_key"}


def list_objects(family: Family, work: Work, request: ApiRequest) -> Body:
    """Return one page, newest object first. Raises `ApiError` for an unknown cursor."""
    table = work.store.table(family.kind)
    limit = read_limit(request.params)
    wanted = {name: value for name, value in request.params.items() if name not in _PAGING and value != ""}
    clocked = not family.test_clock_filters or any(name in wanted for name in family.test_clock_filters)
    wanted = {**family.default_filters, **wanted}
    equal = {shown: request.path[name] for name, shown in family.parents.items() if name in request.path}
    after, before = request.get("starting_after"), request.get("ending_before")
    if after and before:
        raise bad_request("Received both starting_after and ending_before parameters. Please pass in only one.")
    if "ids" in wanted and (after or before):
        raise bad_request("`ids` can't be used with `starting_after` or `ending_before`.", param="ids")
    records = _records(table, family, wanted, equal, after, before)
    matching = (
        r
        for r in records
        if (clocked or not r.body.get("test_clock"))
        and _matches(family, work, r.body, wanted)
        and _equals(r.body, equal)
    )
    page = [r.body for r in islice(matching, limit + 1)]
    has_more = len(page) > limit
    page = page[:limit]
    if before:
        page.reverse()
    return {"object": "list", "data": page, "has_more": has_more, "url": request.url}


def search_objects(family: Family, work: Work, request: ApiRequest) -> Body:
    """Return one page of search results. Changes that the search index doesn't show yet are missing."""
    limit = read_limit(request.params)
    query = parse_query(family.kind, str(request.params.get("query", "")))
    found = find_records(work.store.table(family.kind), query, work.moment)
    start = _page_start(request.get("page"))
    page = [r.body for r in found[start : start + limit]]
    has_more = len(found) > start + limit
    return {
        "object": "search_result",
        "data": page,
        "has_more": has_more,
        "next_page": f"page_{start + limit}" if has_more else None,
        "url": request.url,
    }


def page_of(bodies: Iterable[Body], request: ApiRequest) -> Body:
    """Return one page of objects that are already selected and ordered."""
    found = list(bodies)
    limit = read_limit(request.params)
    ids = [body["id"] for body in found]
    after, before = request.get("starting_after"), request.get("ending_before")
    start = ids.index(after) + 1 if after in ids else 0
    if before in ids:
        end = ids.index(before)
        start = max(0, end - limit)
        found = found[:end]
    page = found[start : start + limit]
    has_more = start > 0 if before in ids else len(found) > start + limit
    return {"object": "list", "data": page, "has_more": has_more, "url": request.url}


def read_limit(params: Mapping[str, Any]) -> int:
    """Return the page size. Raises `ApiError` if it isn't between 1 and 100."""
    given = params.get("limit")
    limit = DEFAULT_LIMIT if given is None or given == "" else int(given)
    if limit > MAX_LIMIT:
        raise bad_request(
            f"This value must be less than or equal to {MAX_LIMIT}.", param="limit", code="parameter_invalid_integer"
        )
    if limit < 1:
        raise bad_request(
            "This value must be greater than or equal to 1.", param="limit", code="parameter_invalid_integer"
        )
    return limit


def in_list(bodies: Iterable[Body], url: str) -> Body:
    """Return a complete list, to be nested in an object."""
    return {"object": "list", "data": list(bodies), "has_more": False, "url": url}


def _records(
    table: Table,
    family: Family,
    wanted: Mapping[str, Any],
    equal: Mapping[str, Any],
    after: str | None,
    before: str | None,
) -> Iterator[Record]:
    where = dict(equal)
    for name, value in wanted.items():
        filter_ = _filter_of(family, name)
        if isinstance(filter_, str) and isinstance(value, str):
            where[filter_] = value
    if after:
        serial = _serial(table, after, "starting_after")
        if where:
            return (r for r in table.newest_first(where) if r.serial < serial)
        return table.older_than(serial)
    if before:
        serial = _serial(table, before, "ending_before")
        if where:
            return (r for r in reversed(list(table.newest_first(where))) if r.serial > serial)
        return table.newer_than(serial)
    return table.newest_first(where)


def _filter_of(family: Family, name: str) -> Filter:
    return family.filters.get(name) or _ALIASES.get(name, name)


def _serial(table: Table, cursor: str, param: str) -> int:
    record = table.records.get(cursor)
    if record is None:
        raise no_such(table.kind, cursor, param, 400)
    return record.serial


def _equals(body: Body, equal: Mapping[str, Any]) -> bool:
    return all(value_at(body, path) == value for path, value in equal.items())


def _matches(family: Family, work: Work, body: Body, wanted: Mapping[str, Any]) -> bool:
    return all(_holds(family, work, body, name, value) for name, value in wanted.items())


def _holds(family: Family, work: Work, body: Body, name: str, value: Any) -> bool:
    filter_ = _filter_of(family, name)
    if not isinstance(filter_, str):
        return filter_(work, body, value)
    found = value_at(body, filter_)
    if isinstance(value, dict):
        if value.keys() <= _RANGE:
            return found is not None and in_range(found, value)
        return all(value_at(body, f"{filter_}.{key}") == item for key, item in value.items())
    if isinstance(value, list):
        return found in value
    return bool(found == value)


def in_range(found: float, bounds: Any) -> bool:
    """Return whether a time is within `gt`, `gte`, `lt` and `lte`, or equals a given time."""
    if not isinstance(bounds, dict):
        return bool(found == bounds)
    return bool(
        found > bounds.get("gt", found - 1)
        and found >= bounds.get("gte", found)
        and found < bounds.get("lt", found + 1)
        and found <= bounds.get("lte", found)
    )


def _page_start(token: str | None) -> int:
    if not token:
        return 0
    number = token.removeprefix("page_")
    if not number.isdigit():
        raise bad_request("Invalid page token.", param="page")
    return int(number)
