"""The API without its transport: accounts, keys, rate limits, and the processing of a request from route to answer."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct, field

from dbt_stripe_sync.sandbox.errors import ACCOUNT, ApiError, forbidden, session_expired, unauthorized
from dbt_stripe_sync.sandbox.expanding import check_expand, read_expand
from dbt_stripe_sync.sandbox.family import ApiRequest
from dbt_stripe_sync.sandbox.idempotency import SavedAnswers
from dbt_stripe_sync.sandbox.objects.streaming import SESSION, STREAM
from dbt_stripe_sync.sandbox.rates import RateGate, RateLimits
from dbt_stripe_sync.sandbox.rendering import full, render
from dbt_stripe_sync.sandbox.routes import Route, read_routes
from dbt_stripe_sync.sandbox.store import Store, copy_json
from dbt_stripe_sync.sandbox.strictness import enforce_rules
from dbt_stripe_sync.sandbox.v2 import parse_time
from dbt_stripe_sync.sandbox.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dbt_stripe_sync.sandbox.clock import MovableClock
    from dbt_stripe_sync.sandbox.datafile import DataFile
    from dbt_stripe_sync.sandbox.idempotency import SavedAnswer

API_KEY = "sk_test_sandbox000000000000"

# `sk_test_acct_other_…` belongs to the account `acct_other`, which has its own data.
_KEY = re.compile(
    r"(?P<kind>sk|rk)_(?:org_)?(?P<mode>test|live)_(?:acct_(?P<account>[A-Za-z0-9]+)_)?(?P<rest>[A-Za-z0-9_]+)\Z"
)


class Place(Struct):
    """One account in one mode."""

    account: str
    livemode: bool
    store: Store
    answers: SavedAnswers
    gate: RateGate | None


class Result(Struct):
    """The result of a request that isn't committed yet."""

    status: int
    body: bytes
    work: Work | None = None
    headers: dict[str, str] = field(default_factory=dict)
    saved: bool = True


def read_key(header: str) -> str:
    """Return the key in an `Authorization` header, or an empty string.

    docs.stripe.com/api/authentication describes two forms: HTTP Basic, with the key as the user name, and Bearer.
    """
    scheme, _, given = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[0]
        except ValueError:
            return ""
    return given if scheme.lower() == "bearer" else ""


class Service:
    """The API of every account, to be used from a single thread."""

    def __init__(
        self,
        *,
        clock: MovableClock,
        limits: RateLimits | None,
        search_delay: float,
        data: DataFile | None,
        requires_payment_methods: bool = False,
    ) -> None:
        self.clock = clock
        self._requires_payment_methods = requires_payment_methods
        self.search_delay = search_delay
        self._limits = limits
        self._data = data
        self._places: dict[tuple[str, bool], Place] = {}
        self._routes = read_routes()
        self.families = self._routes.families
        if data is not None:
            self._load(data)

    def place(self, account: str = ACCOUNT, *, livemode: bool = False) -> Place:
        """Return the data of one account and mode."""
        place = self._places.get((account, livemode))
        if place is None:
            gate = RateGate(self._limits, livemode=livemode) if self._limits is not None else None
            store = Store(account, livemode=livemode)
            place = self._places[account, livemode] = Place(account, livemode, store, SavedAnswers(), gate)
        return place

    def authenticate(self, headers: Mapping[str, str], method: str, path: str) -> Place:
        """Return the account and mode that the key gives access to. Raises Stripe's 401 or 403."""
        key = read_key(headers.get("Authorization", ""))
        if path == STREAM:
            return self._place_of_session(key)
        match = _KEY.match(key)
        if match is None or match["rest"].startswith("wrong"):
            raise unauthorized(key)
        # A restricted key `rk_test_read…` can only read, but not the account.
        # A guess: `restricted-keys`.
        if match["kind"] == "rk" and match["rest"].startswith("read") and (method != "GET" or path == "/v1/account"):
            raise forbidden(method, path, f"acct_{match['account']}" if match["account"] else ACCOUNT)
        account = (
            headers.get("Stripe-Account")
            or headers.get("Stripe-Context")
            or (f"acct_{match['account']}" if match["account"] else ACCOUNT)
        )
        return self.place(account, livemode=match["mode"] == "live")

    def _place_of_session(self, token: str) -> Place:
        """Return the account and mode that a meter event session's token gives access to. Raises Stripe's 401."""
        for place in self._places.values():
            for record in place.store.table(SESSION.kind).newest_first({"authentication_token": token}):
                if parse_time("expires_at", record.body["expires_at"]) <= self.clock.now():
                    raise session_expired()
                return place
        raise unauthorized(token)

    def route(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Return the operation of a request. Raises a 404 `ApiError`."""
        return self._routes.find(method, path)

    def perform(self, place: Place, route: Route, path: dict[str, str], url: str, raw: dict[str, Any]) -> Result:
        """Check and execute one request. Nothing is saved before `commit`. Raises `ApiError`."""
        params = route.checker.check(raw)
        work = self.work(place)
        enforce_rules(route, path, params, work)
        expand = raw.get("expand")
        paths = read_expand(expand.values()) if isinstance(expand, dict) else ()
        request = ApiRequest(
            operation=route.operation,
            url=url,
            path=path,
            params=params,
            account=place.account,
        )
        try:
            body = route.handler(work, request)
            check_expand(body, _listed(route), paths)
            shown = render(work, self._family_of(route, body), body, paths)
        except ApiError as error:
            # The endpoint had started: unlike a failed check of parameters, its error is saved under the key.
            # A guess: `saved-refusals`.
            error.saved = not (error.code or "").startswith("parameter_") and error.param != "expand"
            raise
        return Result(200, orjson.dumps(shown), work)

    def commit(self, place: Place, result: Result | None, answer: tuple[str, SavedAnswer] | None) -> None:
        """Apply a request's effects, and write them to the data file with its saved answer."""
        written, removed = result.work.commit() if result is not None and result.work is not None else ([], [])
        if self._data is not None:
            self._data.write((place.account, place.livemode), written, removed, answer)

    def work(self, place: Place) -> Work:
        """Return a new unit of work."""
        return Work(
            place.store,
            now=self.clock.now(),
            search_delay=self.search_delay,
            families=self.families,
            requires_payment_methods=self._requires_payment_methods,
        )

    def objects(self, kind: str, place: Place) -> list[dict[str, Any]]:
        """Return the live objects of a kind in order of creation, with the fields that only `expand` shows."""
        work = self.work(place)
        found = [full(work, self.families.get(kind), body) for body in work.find(kind)]
        return [copy_json(body) for body in reversed(found)]

    def count(self, kind: str, place: Place) -> int:
        """Return the number of live objects of a kind."""
        return sum(1 for _ in place.store.table(kind).newest_first())

    def advance(self, seconds: float) -> None:
        """Advance the clock, and bring every object up to date. Raises `ValueError` if `seconds` is negative."""
        self.clock.advance(seconds)
        if self._data is not None:
            self._data.set_setting("clock_offset", str(self.clock.offset))
        for place in self._places.values():
            for kind, family in self.families.items():
                if family.tick is not None:
                    for body in self.work(place).find(kind):
                        if not body.get("test_clock"):
                            self._advance_object(place, family.tick, body)

    def _advance_object(self, place: Place, tick: Callable[[Work, dict[str, Any]], None], body: dict[str, Any]) -> None:
        work = self.work(place)
        try:
            tick(work, body)
        except ApiError:
            # If an object's own rules reject the change, it stays unchanged, and the others still advance.
            return
        self.commit(place, Result(200, b"", work), None)

    def clear(self) -> None:
        """Delete all objects and saved answers."""
        self._places.clear()
        if self._data is not None:
            self._data.clear()

    def _family_of(self, route: Route, body: dict[str, Any]) -> Any:
        named = body.get("object")
        if named in {route.family.object, "list", "search_result"}:
            return route.family
        return next((f for f in self.families.values() if f.object == named), None)

    def _load(self, data: DataFile) -> None:
        self.clock.offset += float(data.setting("clock_offset") or 0)
        for (account, live), record in data.objects():
            self.place(account, livemode=live).store.load(record)
        for (account, live), key, answer in data.answers():
            self.place(account, livemode=live).answers.load(key, answer)


def _listed(route: Route) -> str | None:
    """Return the kind of the objects on an operation's page, if it is known even for an empty page."""
    return route.family.object if route.operation in {"list", "search"} else None
