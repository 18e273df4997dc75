"""One kind of object as the generic core sees it, and the core's default operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct, field

from dbt_stripe_sync.sandbox.errors import ApiError, bad_request
from dbt_stripe_sync.sandbox.ids import new_id
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.store import Body, copy_json
from dbt_stripe_sync.sandbox.work import Work
from dbt_stripe_sync.stripe_api.sdk_shapes import blank_of

if TYPE_CHECKING:
    from dbt_stripe_sync.model.params import Param


class ApiRequest(Struct, frozen=True, kw_only=True):
    """A validated API request. `params` are typed; `''` means that a parameter is to be cleared. `url` is the path."""

    operation: str
    url: str
    path: Mapping[str, str]
    params: dict[str, Any]
    account: str

    @property
    def id(self) -> str:
        """The id of the last object that the URL names."""
        return list(self.path.values())[-1]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a parameter, or `default` if it is missing or cleared."""
        value = self.params.get(name)
        return default if value is None or value == "" else value


Handler: TypeAlias = Callable[[Work, ApiRequest], Body]
Filter: TypeAlias = "str | Callable[[Work, Body, Any], bool]"


class ExtraRoute(Struct, frozen=True, kw_only=True):
    """An operation that the catalog lacks.

    If `handler` is None, the core handles it. If `params` is None, its parameters aren't checked.
    """

    name: str
    method: str
    path: str
    handler: Handler | None = None
    params: Mapping[str, Param] | None = None

    @property
    def path_params(self) -> tuple[str, ...]:
        """The names of the path's parameters."""
        return tuple(step.strip("{}") for step in self.path.split("/") if step.startswith("{"))


class Family(Struct, frozen=True, kw_only=True):
    """One kind of object: its names, its defaults, and where it differs from what the core does.

    - `kind` is the resource's name in the catalog, and its table in the store. `object` is the API's name for it.
    - `blank` is a new object before its parameters are applied, without the fields that have the emptiest value of a
      type that the SDK requires.
    - `parents` maps path parameters to the fields that hold them.
    - `operations` replaces the core's handlers, by operation name.
    - `filters` is for list parameters that don't simply equal the field of the same name. It maps them to a dotted
      path, or to a function of the request's work, the object and the value.
    - `expand_only` names fields that are shown only if expanded. `computed` builds fields that aren't stored.
    - `render` turns a stored body into what the API shows.
    - `tombstone` keeps deleted objects retrievable, as `deleted: true`.
    - `tick` is called for each live object after the time has moved.
    - `routes` are further operations: the catalog has only resources that can be created.
    - `test_clock_filters` names list parameters. Unless one of them is given, a list omits objects that belong to a
      test clock. If it is empty, lists show everything.
    - `default_filters` are filters that a list applies unless the request sets them.
    """

    kind: str
    object: str
    prefix: str
    blank: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    operations: Mapping[str, Handler] = field(default_factory=dict)
    filters: Mapping[str, Filter] = field(default_factory=dict)
    expand_only: frozenset[str] = frozenset()
    computed: Mapping[str, Callable[[Work, Body], Any]] = field(default_factory=dict)
    render: Callable[[Work, Body], Body] | None = None
    tombstone: bool = False
    tick: Callable[[Work, Body], None] | None = None
    routes: tuple[ExtraRoute, ...] = ()
    test_clock_filters: tuple[str, ...] = ()
    default_filters: Mapping[str, Any] = field(default_factory=dict)


def new_body(family: Family, work: Work, *, id: str | None = None) -> Body:  # noqa: A002 - Stripe's own word
    """Return a blank object with its id, `object`, `created` and `livemode`."""
    body: Body = {"id": id or new_id(family.prefix), "object": family.object}
    own = family.blank() if callable(family.blank) else family.blank
    body.update(copy_json({**blank_of(family.object), **own}))
    if body.get("created", 0) is not None:
        body["created"] = work.now
    body["livemode"] = work.livemode
    return body


def own_id(work: Work, kind: str, id: str, noun: str) -> str:  # noqa: A002 - Stripe's own word
    """Return the id that the caller chose. Raises `ApiError` if it is taken."""
    if work.has(kind, id):
        raise ApiError(f"{noun} already exists.", code="resource_already_exists", param="id")
    return id


def create(family: Family, work: Work, request: ApiRequest) -> Body:
    """Create an object from the request's parameters."""
    body = new_body(family, work)
    for path_param, shown_as in family.parents.items():
        if path_param in request.path:
            body[shown_as] = request.path[path_param]
    body.setdefault("metadata", {})
    shown = {name: merged(body.get(name), value) for name, value in request.params.items()}
    apply_params(body, shown)
    return work.add(family.kind, body)


def merged(default: Any, given: Any) -> Any:
    """Merge a hash; keys that the request doesn't mention keep their values. Any other value replaces the default."""
    if isinstance(default, dict) and isinstance(given, dict):
        return {**default, **{key: merged(default.get(key), value) for key, value in given.items()}}
    return given


def retrieve(family: Family, work: Work, request: ApiRequest) -> Body:
    """Return the object, even a deleted one if the family keeps tombstones."""
    shown = work.shown(family.kind, request.id)
    if shown is not None and family.tombstone:
        return shown
    return within_parents(family, work, request)


def within_parents(family: Family, work: Work, request: ApiRequest) -> Body:
    """Return the URL's live object. Raises `ApiError` if it is missing, or doesn't belong to the URL's parents."""
    body = work.get(family.kind, request.id)
    for path_param, shown_as in family.parents.items():
        if path_param in request.path and body.get(shown_as) != request.path[path_param]:
            return work.get(family.kind, "")
    return body


def update(family: Family, work: Work, request: ApiRequest) -> Body:
    """Update the object with the request's parameters."""
    within_parents(family, work, request)
    body = work.edit(family.kind, request.id)
    apply_params(body, request.params)
    return body


def delete(family: Family, work: Work, request: ApiRequest) -> Body:
    """Delete the object."""
    body = within_parents(family, work, request)
    deleted = {"id": body["id"], "object": family.object, "deleted": True}
    work.remove(family.kind, body["id"], tombstone=dict(deleted) if family.tombstone else None)
    return deleted


def reference(work: Work, kind: str, id: str, param: str) -> Body:  # noqa: A002 - Stripe's own word
    """Return the live object that a parameter names. Raises Stripe's 400 if there is none."""
    return work.get(kind, id, param=param, status=400)


def customer_of(work: Work, params: Mapping[str, Any]) -> Body:
    """Return the customer that a request names. Raises `ApiError` if there is none; accounts aren't customers here."""
    name = "customer" if params.get("customer") else "customer_account"
    return reference(work, "customer", str(params[name]), name)


def refuse(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400 for one of a family's own rules."""
    return bad_request(message, param=param, code=code)
