"""Turns an account's products, prices and coupons into seeds, and lists what is left out, with the reason."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.authoring.object_values import find_unsettable, read_values
from dbt_stripe_sync.authoring.seeds import KEY, Row, Seed, build_seed
from dbt_stripe_sync.model.imported import LeftOut
from dbt_stripe_sync.model.objects import created_at, object_value
from dbt_stripe_sync.model.tag import FORMER_TAG, TAG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.model.params import Catalog, Resource

    Body = Mapping[str, Any]

EXAMPLES = 3


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of object that can be imported.

    `in_use` is the field that is false once an object can't be used. `refers` has the parameters that refer to objects
    of other kinds, which must be in the seeds of those kinds.
    """

    resource: str
    plural: str
    in_use: str = "active"
    expand: tuple[str, ...] = ()
    refers: tuple[tuple[str, str], ...] = ()


# Products come before objects that refer to them. `expand` names fields that a list omits:
# docs.stripe.com/api/prices/object, docs.stripe.com/api/coupons/object ("This field is not included by default").
KINDS: Mapping[str, Kind] = {
    kind.plural: kind
    for kind in (
        Kind(resource="product", plural="products"),
        Kind(
            resource="price", plural="prices", expand=("currency_options", "tiers"), refers=(("product", "products"),)
        ),
        Kind(resource="coupon", plural="coupons", in_use="valid", expand=("applies_to", "currency_options")),
    )
}


class Naming(Struct, frozen=True, kw_only=True):
    """The names of the seeds and of the project, which the tags of an earlier import contain."""

    project: str
    prefix: str

    def seed(self, kind: Kind) -> str:
        """The name of a kind's seed."""
        return f"{self.prefix}{kind.plural}"


class Account:
    """The objects of an account, kind by kind, ordered by their references."""

    def __init__(self, naming: Naming, catalog: Catalog, *, with_archived: bool) -> None:
        self._naming = naming
        self._catalog = catalog
        self._with_archived = with_archived
        self._left: Counter[tuple[str, str | None, str]] = Counter()
        self._ids: dict[tuple[str, str | None, str], list[str]] = defaultdict(list)
        self._taken: dict[str, set[str]] = {}

    def add(self, kind: Kind, bodies: Sequence[Body]) -> Seed | None:
        """The seed of a kind's objects; None if it would be empty."""
        resource = self._catalog.resources[kind.resource]
        taken = self._taken.setdefault(kind.plural, set())
        rows: list[Row] = []
        for body in sorted(bodies, key=lambda body: (created_at(body), str(body["id"]))):
            key = self._key(kind, resource, body)
            if key is not None and self._is_in(kind, body):
                taken.add(str(body["id"]))
                rows.append(self._row(kind, resource, key, body))
        if not rows:
            return None
        references = {
            parameter: self._naming.seed(KINDS[other]) for parameter, other in kind.refers if other in self._taken
        }
        title = f"The {kind.plural} of the Stripe account."
        return build_seed(self._naming.seed(kind), resource, rows, references, title=title)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Everything that is in no seed."""
        return tuple(
            LeftOut(kind=kind, field=field, reason=reason, count=count, ids=tuple(self._ids[(kind, field, reason)]))
            for (kind, field, reason), count in self._left.items()
        )

    def _is_in(self, kind: Kind, body: Body) -> bool:
        if body.get(kind.in_use) is False and not self._with_archived:
            what = "archived" if kind.in_use == "active" else "no longer valid"
            self._leave(kind, body, f"{what}; `--include-archived` writes these, too")
            return False
        for parameter, other in kind.refers:
            if other in self._taken and str(_id(body.get(parameter))) not in self._taken[other]:
                self._leave(kind, body, f"the {parameter} is left out")
                return False
        return True

    def _key(self, kind: Kind, resource: Resource, body: Body) -> str | None:
        """The key of an object's row: its id, or the key of the row that created it."""
        stripe_id, tag = str(body["id"]), object_value(body, f"metadata.{TAG}")
        if tag is None:
            if object_value(body, f"metadata.{FORMER_TAG}") is None:
                return stripe_id
            self._leave(kind, body, "replaced by a newer object of its row")
            return None
        mine = f"{self._naming.project}/{self._naming.seed(kind)}/"
        key = str(tag).removeprefix(mine)
        has_own_id = resource.lifecycle.own_id
        if not str(tag).startswith(mine) or (has_own_id and key != stripe_id):
            project, _, rest = str(tag).partition("/")
            self._leave(kind, body, f"sync `{rest.partition('/')[0]}` of the project `{project}` manages it")
            return None
        return key

    def _row(self, kind: Kind, resource: Resource, key: str, body: Body) -> Row:
        for path in find_unsettable(body, resource.params):
            self._leave(kind, body, "creation doesn't accept it", field=path)
        shown = {**body, "metadata": _own_metadata(body)} if "metadata" in body else body
        values = read_values(shown, resource.params)
        if resource.lifecycle.own_id:
            values[(KEY,)] = key
        return Row(key=key, values=values)

    def _leave(self, kind: Kind, body: Body, reason: str, *, field: str | None = None) -> None:
        at = (kind.plural, field, reason)
        self._left[at] += 1
        if len(self._ids[at]) < EXAMPLES:
            self._ids[at].append(str(body["id"]))


def _own_metadata(body: Body) -> dict[str, Any]:
    return {name: text for name, text in (body["metadata"] or {}).items() if name not in {TAG, FORMER_TAG}}


def _id(value: Any) -> Any:
    return value.get("id") if isinstance(value, dict) else value


def referred_first(plurals: Sequence[str]) -> Iterator[Kind]:
    """Some kinds by name, each after the kinds that it refers to."""
    return (kind for plural, kind in KINDS.items() if plural in plurals)
