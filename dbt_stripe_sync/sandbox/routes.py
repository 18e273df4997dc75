"""Finds the operation for a method and path, in a table that is compiled once from the catalog."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.checking import Checker, Unchecked
from dbt_stripe_sync.sandbox.errors import unknown_url
from dbt_stripe_sync.sandbox.family import ExtraRoute
from dbt_stripe_sync.sandbox.listing import list_objects, search_objects
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.objects import FAMILIES
from dbt_stripe_sync.sandbox.objects.plain import plain_family
from dbt_stripe_sync.stripe_api.catalog import read_catalog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.params import Operation
    from dbt_stripe_sync.sandbox.family import ApiRequest, Family, Handler
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work
    from dbt_stripe_sync.stripe_api.catalog import Catalog

# The status after an operation that only changes the status, for families without rules of their own.
_STATUS_AFTER = {"cancel": "canceled", "capture": "succeeded", "confirm": "succeeded", "expire": "expired"}


class Route(Struct, frozen=True, kw_only=True):
    """An operation with its handler. Rate limits count requests by `endpoint`."""

    endpoint: str
    resource: str
    operation: str
    family: Family
    checker: Checker | Unchecked
    handler: Handler


@cache
def read_routes() -> Routes:
    """Return the routes of the catalog, compiled once per process."""
    return Routes(read_catalog())


class Routes:
    """Finds the route of a request."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._tree: dict[str, Any] = {}
        self.families: dict[str, Family] = {name: plain_family(name) for name in catalog.resources}
        self.families.update(FAMILIES)
        # Reading every operation of the catalog takes a second, so they are read by the first word of the URL, on
        # demand.
        self._unread: dict[str, list[str]] = {}
        for name in catalog.resources:
            self._unread.setdefault(_folded(catalog.resources[name].service.split(".")[0]), []).append(name)
        for name, family in FAMILIES.items():
            for extra in family.routes:
                checker = Unchecked() if extra.params is None else Checker(extra.params)
                self._add(name, family, extra, checker)

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the route and the path's parameters. Raises Stripe's 404 for an unknown URL."""
        steps = path.split("/")
        if self._unread:
            self._read(_folded(steps[2]) if len(steps) > 2 else "")  # noqa: PLR2004 - /v1/word
        found = self._match(method, steps)
        if found is None and self._unread:
            for word in list(self._unread):
                self._read(word)
            found = self._match(method, steps)
        if found is None:
            raise unknown_url(method, path)
        return found

    def _match(self, method: str, steps: list[str]) -> tuple[Route, dict[str, str]] | None:
        values: list[str] = []
        node = self._tree
        for step in steps:
            child = node.get(step)
            if child is None:
                child = node.get("{}")
                if child is None or not step:
                    return None
                values.append(step)
            node = child
        found = node.get(f" {method}")
        if found is None:
            return None
        route, names = found
        return route, dict(zip(names, values, strict=True))

    def _read(self, word: str) -> None:
        for name in self._unread.pop(word, ()):
            for operation in self._catalog.resources[name].operations.values():
                params = {n: p for n, p in operation.params.items() if n not in operation.path_params}
                self._add(name, self.families[name], operation, Checker(params))

    def _add(
        self, resource: str, family: Family, operation: Operation | ExtraRoute, checker: Checker | Unchecked
    ) -> None:
        node = self._tree
        names = []
        for step in operation.path.split("/"):
            if step.startswith("{"):
                names.append(step.strip("{}"))
                node = node.setdefault("{}", {})
            else:
                node = node.setdefault(step, {})
        handler = operation.handler if isinstance(operation, ExtraRoute) else family.operations.get(operation.name)
        route = Route(
            endpoint=f"{resource}.{operation.name}",
            resource=resource,
            operation=operation.name,
            family=family,
            checker=checker,
            handler=handler or _generic(family, operation),
        )
        node.setdefault(f" {operation.method.upper()}", (route, names))


def _folded(word: str) -> str:
    return word.replace("_", "")


def _generic(family: Family, operation: Operation | ExtraRoute) -> Handler:
    on_object = operation.path.endswith("}")
    method = operation.method.lower()
    handlers: Mapping[tuple[str, bool], Any] = {
        ("get", True): core.retrieve,
        ("post", True): core.update,
        ("delete", True): core.delete,
    }
    chosen = handlers.get((method, on_object))
    if chosen is None and operation.name == "search":
        chosen = search_objects
    if chosen is None and operation.name == "create":
        chosen = core.create
    if chosen is None and method == "get":
        chosen = list_objects if operation.name.startswith("list") else _singleton
    if chosen is None:
        chosen = _action
    return lambda work, request: chosen(family, work, request)


def _singleton(family: Family, work: Work, request: ApiRequest) -> Body:
    if request.path and work.has(family.kind, request.id):
        return work.get(family.kind, request.id)
    return core.new_body(family, work)


# A guess: `other-resources`.
def _action(family: Family, work: Work, request: ApiRequest) -> Body:
    if not request.path:
        return core.create(family, work, request)
    body = work.edit(family.kind, next(iter(request.path.values())))
    apply_params(body, {name: value for name, value in request.params.items() if name in body})
    status = _STATUS_AFTER.get(request.operation)
    if status is not None and "status" in body:
        body["status"] = status
    return body
