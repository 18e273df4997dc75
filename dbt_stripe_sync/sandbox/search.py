"""Stripe's search query language (docs.stripe.com/search), over a slightly delayed view of the objects."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.sandbox.errors import ApiError, bad_request
from dbt_stripe_sync.sandbox.store import as_text, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dbt_stripe_sync.sandbox.store import Body, Record, Table

MAX_CLAUSES = 10

# The searchable fields of each resource (docs.stripe.com/search, "Supported query fields for each resource").
FIELDS: Mapping[str, frozenset[str]] = {
    "charge": frozenset({"amount", "created", "currency", "customer", "status", "refunded", "disputed"}),
    "customer": frozenset({"created", "email", "name", "phone"}),
    "invoice": frozenset(
        {"created", "currency", "customer", "number", "receipt_number", "status", "subscription", "total"}
    ),
    "payment_intent": frozenset({"amount", "created", "currency", "customer", "status"}),
    "price": frozenset({"active", "currency", "lookup_key", "product", "type"}),
    "product": frozenset({"active", "description", "name", "shippable", "url"}),
    "subscription": frozenset({"created", "status", "canceled_at"}),
}

# The path of a field in the object, if it differs from its name.
_PLACES = {("invoice", "subscription"): "parent.subscription_details.subscription"}

_CLAUSE = re.compile(
    r"""\s*(?P<minus>-)?(?:(?P<field>[a-z_]+)|metadata\[(?P<q>["'])(?P<key>(?:\\.|(?!(?P=q)).)*)(?P=q)\])
    \s*(?P<op>:|~|>=|<=|>|<)\s*
    (?:(?P<null>null)\b|(?P<quote>["'])(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P=quote)|(?P<number>-?[0-9.]+))""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_JOIN = re.compile(r"\s+(?P<word>AND|OR)\s+|\s*$|\s+(?=-?[a-z])", re.IGNORECASE)

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}


class Clause(Struct, frozen=True, kw_only=True):
    """`field op value`; a `value` of None means null. Text is compared case-insensitively."""

    path: tuple[str, ...]
    op: str
    value: str | None
    negated: bool

    def matches(self, body: Body) -> bool:
        """Whether an object matches this clause."""
        return self._holds(value_of(body, self.path)) != self.negated

    def _holds(self, found: Any) -> bool:
        if self.value is None:
            return found is None
        if found is None:
            return False
        if self.op in _COMPARE:
            try:
                return _COMPARE[self.op](float(found), float(self.value))
            except (TypeError, ValueError):
                return False
        # A guess: `search-matching`.
        text = as_text(found)
        return self.value in text if self.op == "~" else self.value == text


class Query(Struct, frozen=True, kw_only=True):
    """Clauses combined by AND or OR."""

    clauses: tuple[Clause, ...]
    any_of: bool

    def matches(self, body: Body) -> bool:
        """Whether an object matches the query."""
        found = (clause.matches(body) for clause in self.clauses)
        return any(found) if self.any_of else all(found)


def parse_query(kind: str, text: str) -> Query:
    """Parse a query. Raises `ApiError` if Stripe would reject it."""
    clauses: list[Clause] = []
    words: set[str] = set()
    position = 0
    while True:
        match = _CLAUSE.match(text, position)
        if match is None:
            raise _unparsable()
        clauses.append(_clause(kind, match))
        position = match.end()
        join = _JOIN.match(text, position)
        if join is None:
            raise _unparsable()
        position = join.end()
        if position >= len(text):
            break
        words.add((join["word"] or "AND").upper())
    if len(words) > 1:
        raise bad_request("You cannot combine AND and OR in the same search query.", param="query")
    if len(clauses) > MAX_CLAUSES:
        raise bad_request(f"A search query can have at most {MAX_CLAUSES} clauses.", param="query")
    return Query(clauses=tuple(clauses), any_of=words == {"OR"})


def find_records(table: Table, query: Query, now: float) -> list[Record]:
    """Return the matching objects that search can see at `now`, newest first."""
    records: Iterable[Record] = table.records.values()
    exact = next((c for c in query.clauses if c.op == ":" and c.value is not None and not c.negated), None)
    if exact is not None and not query.any_of:
        records = table.candidates(exact.path, exact.value or "", now)
    found = [r for r in records if (body := seen_at(r, now)) is not None and query.matches(body)]
    return sorted(found, key=lambda r: r.serial, reverse=True)


def seen_at(record: Record, now: float) -> Body | None:
    """Return the object as search sees it at `now`, or None if it isn't visible yet or anymore."""
    if record.visible_at <= now:
        return None if record.gone else record.body
    for due, body in record.earlier:
        if due <= now:
            return body
    return None


def _clause(kind: str, match: re.Match[str]) -> Clause:
    if match["key"] is not None:
        path: tuple[str, ...] = ("metadata", _unescape(match["key"]))
    else:
        name = match["field"].lower()
        if name not in FIELDS.get(kind, frozenset()):
            raise bad_request(
                f"Field `{name}` is an unsupported search field for resource `{kind}s`. See "
                f"http://stripe.com/docs/search#query-fields-for-{kind}s for a list of supported fields.",
                param="query",
            )
        path = tuple(_PLACES.get((kind, name), name).split("."))
    if match["op"] in _COMPARE and match["number"] is None:
        raise _unparsable()
    if match["null"]:
        value = None
    else:
        value = match["number"] if match["number"] is not None else _unescape(match["text"]).casefold()
    return Clause(path=path, op=match["op"], value=value, negated=bool(match["minus"]))


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _unparsable() -> ApiError:
    return bad_request(
        'We were unable to parse your search query. Try using the format `metadata["key"]:"value"` to query for '
        'metadata or `key:"value"` to query for other fields.',
        param="query",
    )
