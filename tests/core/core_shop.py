"""A business with one model of one row, synced to one resource, and the objects that Stripe must have before."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import stripe

from dbt_stripe_sync.model.tag import TAG
from dbt_stripe_sync.stripe_api.catalog import read_catalog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from business import Business, Ran
    from core_table import Core

DAY = 24 * 3600
# Models that rows of the seven resources refer to: resource, query and fields.
PARENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "people": ("customer", "SELECT unnest(['ann', 'ben']) AS id", {"name": "id"}),
    "plans": ("product", "SELECT unnest(['desk', 'lamp']) AS id", {"name": "id"}),
    "tariffs": (
        "price",
        "SELECT unnest(['basic', 'large']) AS id, unnest([1000, 2500]) AS cents",
        {
            "product_data.name": "id",
            "currency": {"value": "usd"},
            "unit_amount": "cents",
            "recurring.interval": {"value": "month"},
        },
    ),
    "vat": (
        "tax_rate",
        "SELECT unnest(['low', 'high']) AS id, unnest([2.5, 8.1]) AS percent",
        {"display_name": "id", "percentage": "percent", "inclusive": {"value": False}},
    ),
    "bills": (
        "invoice",
        "SELECT 'b1' AS id, 'ann' AS person",
        {
            "customer": {"sync": "people", "key": "person"},
            "collection_method": {"value": "send_invoice"},
            "days_until_due": {"value": 30},
            "auto_advance": {"value": False},
        },
    ),
}


def as_form(value: Any) -> Any:
    """Parameters as a form carries them: everything but hashes and lists is text."""
    if isinstance(value, dict):
        return {name: as_form(part) for name, part in value.items()}
    if isinstance(value, list):
        return [as_form(part) for part in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def at(body: Any, path: str) -> Any:
    """What an object shows at a dotted path; figures are places in lists."""
    for step in path.split("."):
        body = body[int(step)] if isinstance(body, list) else (body or {}).get(step)
    return body


@dataclass
class Shop:
    """The business, the resource under test, and the ids of what was made by hand, by name."""

    business: Business
    core: Core
    by_hand: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.core.parents:
            resource, query, fields = PARENTS[name]
            self.business.table(name, query)
            self.business.sync(name, resource=resource, key="id", fields=fields)
        for name, path, params in self.core.by_hand:
            self.by_hand[name] = self.call("post", path, params)["id"]

    # ── the model ────────────────────────────────────────────────────────────────────────────────────────────────

    def rows(self, rows: Sequence[str] = ("k",), *, but: Mapping[str, str] | None = None, **columns: str) -> None:
        """Build the model with a row for each id. `columns` are SQL for all rows, `but` for those of its keys alone."""
        made = {**self.core.columns, **columns}
        select = ", ".join(f"{self._sql(expression)} AS {name}" for name, expression in made.items())
        ids = ", ".join(f"'{row}'" for row in rows)
        query = f"SELECT id, {select} FROM (SELECT unnest([{ids}]::text[]) AS id)"
        for column, expression in (but or {}).items():
            here = f"CASE id WHEN 'k' THEN {self._sql(expression)} ELSE {column} END"
            query = f"SELECT * REPLACE ({here} AS {column}) FROM ({query})"
        self.business.table("things", query)

    def sync(self, fields: Mapping[str, Any] | None = None, **meta: Any) -> None:
        """Tag the model. `fields` take the place of those of the table; an update takes none that is immutable."""
        mapped = {
            path: value
            for path, value in (self.core.fields if fields is None else fields).items()
            if meta.get("mode") != "update" or not self._is_fixed(path.split("."))
        }
        self.business.sync("things", resource=self.core.resource, fields=mapped, **{"key": "id", **meta})

    def _is_fixed(self, path: Sequence[str]) -> bool:
        """Whether the parameter at a path, or a hash around it, is immutable."""
        resource = read_catalog().resources[self.core.resource]
        within = (resource.param(tuple(path[: end + 1])) for end in range(len(path)))
        return any(param is not None and param.immutable for param in within)

    def _sql(self, expression: str) -> str:
        return re.sub(r"@(\w+)", lambda name: self.by_hand.get(name[1], name[0]), expression)

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────

    def cli(self, *arguments: str) -> Ran:
        """A command, with an empty list of requests before it; without one, a run whose removals are agreed to."""
        self.business.stripe.reset_requests()
        return self.business.cli(*(arguments or ("run", "--yes")))

    def run(self, *arguments: str) -> Ran:
        """A run in which all is well."""
        ran = self.cli(*arguments)
        assert ran.exit_code == 0, ran.text
        return ran

    def writes(self) -> list[str]:
        """The calls of the last command that could change something."""
        return [f"{line.method} {line.path}" for line in self.business.stripe.writes()]

    def sent(self) -> list[Any]:
        """Their parameters."""
        return [line.params for line in self.business.stripe.writes()]

    def call(self, method: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Something that a person does in Stripe by hand."""
        client = stripe.StripeClient(self.business.stripe.api_key, base_addresses={"api": self.business.stripe.url})
        return json.loads(client.raw_request(method, self.resolve(path), **self.resolve(params or {})).body)

    def make(self, *, without: Sequence[str] = (), **changed: Any) -> Any:
        """An object as the row would make it, made by hand."""
        params = {name: value for name, value in self.core.creates.items() if name not in without}
        return self.call("post", self.core.path, {**params, **changed})

    # ── what there is ────────────────────────────────────────────────────────────────────────────────────────────

    def all(self) -> list[Any]:
        """Every object of the resource but those of the parents, oldest first."""
        parents = {f"shop/{name}/" for name in self.core.parents}
        objects = self.business.stripe.objects(self.core.resource)
        theirs = set(self.by_hand.values())
        return [
            body
            for body in objects
            if body["id"] not in theirs
            and not any(str(body["metadata"].get(TAG)).startswith(parent) for parent in parents)
        ]

    def object(self, key: str = "k") -> Any:
        """The object of a row: the newest, since one that was canceled keeps its tag."""
        return [body for body in self.all() if body["metadata"].get(TAG) == f"shop/things/{key}"][-1]

    def find(self, stripe_id: str) -> Any:
        """An object as it is now, None where it is gone."""
        return next((body for body in self.all() if body["id"] == stripe_id), None)

    def resolve(self, value: Any) -> Any:
        """A value in which `@name:key` is the id of another sync's row, `@name` of what was made by hand, `@` of the
        row's own object, and `@.path` what that shows there.
        """
        if isinstance(value, dict):
            return {name: self.resolve(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self.resolve(part) for part in value]
        if not isinstance(value, str) or "@" not in value:
            return value
        return re.sub(r"(?<!\w)@((?:\w+:\w+)|(?:\.[\w.]+)|\w*)", lambda found: self._named(found[1]), value)

    def _named(self, name: str) -> str:
        if ":" in name:
            sync, _, key = name.partition(":")
            bodies = self.business.stripe.objects(PARENTS[sync][0])
            return next(body["id"] for body in bodies if body["metadata"].get(TAG) == f"shop/{sync}/{key}")
        if name.startswith("."):
            return str(at(self.object(), name[1:]))
        return self.by_hand[name] if name else str(self.object()["id"])
