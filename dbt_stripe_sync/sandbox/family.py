"""What the generic core needs to know about one kind of object, and its defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct, field

from dbt_stripe_sync.sandbox.errors import ApiError, bad_request
from dbt_stripe_sync.sandbox.ids import new_id
from dbt_stripe_sync.sandbox.merging import apply_params
from dbt_stripe_sync.sandbox.store import Body, copy_json
from dbt_stripe_sync.sandbox.work import Work

if TYPE_CHECKING:
    from dbt_stripe_sync.model.params import Param


class Ask(Struct, frozen=True, kw_only=True):
    """One API request, checked: `params` are typed, `''` standing for a parameter to clear. `url` is the path."""

    resource: str
    operation: str
    url: str
    path: Mapping[str, str]
    params: dict[str, Any]
    account: str
    expand: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id of the object that the URL names last."""
        return list(self.path.values())[-1]

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter; `default` if it is missing or cleared."""
        value = self.params.get(name)
        return default if value is None or value == "" else value


Handler: TypeAlias = Callable[[Work, Ask], Body]
Filter: TypeAlias = "str | Callable[[Work, Body, Any], bool]"


class ExtraRoute(Struct, frozen=True, kw_only=True):
    """An operation that the catalog lacks.

    With `handler` None, the core handles it. Without `params`, its parameters aren't checked.
    """

    name: str
    method: str
    path: str
    handler: Handler | None = None
    params: Mapping[str, Param] | None = None

    @property
    def path_params(self) -> tuple[str, ...]:
        """The names in braces."""
        return tuple(step.strip("{}") for step in self.path.split("/") if step.startswith("{"))


class Family(Struct, frozen=True, kw_only=True):
    """One kind of object.

    `kind` is the catalog's resource name and the store's table; `object` what the API calls it. `blank` is what a new
    object shows before its parameters. `parents` maps path parameters to the field that holds them. `operations`
    replaces what the core does, by operation name. `filters` says how a list parameter selects where it isn't equality
    with the field of its name: a dotted path, or a function of the request's work, the object and the value.
    `on_demand` are fields that only `expand` shows, `computed` makes those that aren't stored. `render` gives what the
    API shows of a stored body.
    `tombstone` keeps `deleted: true` objects retrievable. `tick` is called for each live object when time has moved.
    `routes` are operations that the catalog, which knows what can be created, lacks. `hidden_unless` are the list
    parameters of which one must be given for a list to show what belongs to a test clock; without any it shows all.
    `listed_as` are
    filters that a list applies where the request doesn't give them.
    """

    kind: str
    object: str
    prefix: str
    blank: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)
    operations: Mapping[str, Handler] = field(default_factory=dict)
    filters: Mapping[str, Filter] = field(default_factory=dict)
    on_demand: frozenset[str] = frozenset()
    computed: Mapping[str, Callable[[Work, Body], Any]] = field(default_factory=dict)
    render: Callable[[Work, Body], Body] | None = None
    tombstone: bool = False
    tick: Callable[[Work, Body], None] | None = None
    routes: tuple[ExtraRoute, ...] = ()
    hidden_unless: tuple[str, ...] = ()
    listed_as: Mapping[str, Any] = field(default_factory=dict)


def new_body(family: Family, work: Work, *, id: str | None = None) -> Body:  # noqa: A002 - Stripe's own word
    """A blank object with its id, `object`, `created` and `livemode`."""
    body: Body = {"id": id or new_id(family.prefix), "object": family.object}
    body.update(copy_json(family.blank() if callable(family.blank) else family.blank))
    if body.get("created", 0) is not None:
        body["created"] = work.now
    body["livemode"] = work.livemode
    return body


def own_id(work: Work, kind: str, id: str, noun: str) -> str:  # noqa: A002 - Stripe's own word
    """An id that the caller chose. Raises `ApiError` if it is taken."""
    if work.has(kind, id):
        raise ApiError(f"{noun} already exists.", code="resource_already_exists", param="id")
    return id


def create(family: Family, work: Work, ask: Ask) -> Body:
    """A new object that shows its parameters."""
    body = new_body(family, work)
    for path_param, shown_as in family.parents.items():
        if path_param in ask.path:
            body[shown_as] = ask.path[path_param]
    body.setdefault("metadata", {})
    shown = {name: merged(body.get(name), value) for name, value in ask.params.items()}
    apply_params(body, shown)
    return work.add(family.kind, body)


def merged(default: Any, given: Any) -> Any:
    """A hash keeps what a request does not say of it."""
    if isinstance(default, dict) and isinstance(given, dict):
        return {**default, **{key: merged(default.get(key), value) for key, value in given.items()}}
    return given


def retrieve(family: Family, work: Work, ask: Ask) -> Body:
    """The object; also a deleted one if the family keeps tombstones."""
    shown = work.shown(family.kind, ask.id)
    if shown is not None and family.tombstone:
        return shown
    return within_parents(family, work, ask)


def within_parents(family: Family, work: Work, ask: Ask) -> Body:
    """The live object of the URL, if it belongs to the parents that the URL names. Raises `ApiError`."""
    body = work.get(family.kind, ask.id)
    for path_param, shown_as in family.parents.items():
        if path_param in ask.path and body.get(shown_as) != ask.path[path_param]:
            return work.get(family.kind, "")
    return body


def update(family: Family, work: Work, ask: Ask) -> Body:
    """The object with the parameters put over it."""
    within_parents(family, work, ask)
    body = work.edit(family.kind, ask.id)
    apply_params(body, ask.params)
    return body


def delete(family: Family, work: Work, ask: Ask) -> Body:
    """Remove the object."""
    body = within_parents(family, work, ask)
    deleted = {"id": body["id"], "object": family.object, "deleted": True}
    work.remove(family.kind, body["id"], tombstone=dict(deleted) if family.tombstone else None)
    return deleted


def reference(work: Work, kind: str, id: str, param: str) -> Body:  # noqa: A002 - Stripe's own word
    """The live object that a parameter names. Raises Stripe's 400 if there is none."""
    return work.get(kind, id, param=param, status=400)


def customer_of(work: Work, params: Mapping[str, Any]) -> Body:
    """The customer that a request is about; no account is one here. Raises `ApiError`."""
    name = "customer" if params.get("customer") else "customer_account"
    return reference(work, "customer", str(params[name]), name)


def refuse(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A 400 of a family's own rule."""
    return bad_request(message, param=param, code=code)
