"""Sends meter events through API v2's stream: in few requests, and in sessions that are renewed before they expire.

Stripe answers before it validates the events (docs.stripe.com/api/v2/billing-meter-stream), so each one is checked here
first. Every event has an identifier of its own: one that is sent again within 24 hours isn't counted twice.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from dbt_stripe_sync.model.calls import Answer, StripeFailure, Verdict
from dbt_stripe_sync.model.errors import StripeError
from dbt_stripe_sync.stripe_api.catalog import lifecycle_of
from dbt_stripe_sync.stripe_api.meters import Meters, shortest
from dbt_stripe_sync.stripe_api.rate import METER_EVENT_STREAM
from dbt_stripe_sync.stripe_api.retry import BAD_REQUEST, UNAUTHORIZED

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from dbt_stripe_sync.model.calls import Call
    from dbt_stripe_sync.model.clock import Clock
    from dbt_stripe_sync.stripe_api.ports import Api

STREAM = "/v2/billing/meter_event_stream"
SESSION = "/v2/billing/meter_event_session"
SESSION_ENDPOINT = "billing.meter_event_session.create"
RESOURCE = "billing.meter_event"
# A request that isn't full waits this long for more events: the calls of one journal commit arrive together.
LINGER_SECONDS = 0.05
# A session is renewed this long before it expires, so that it can't expire during a request.
RENEWED_SECONDS = 60.0
TOO_LARGE = 413
# Rejections of a request because of its contents. Its events are then sent separately.
CONTENT_ERRORS = frozenset({BAD_REQUEST, TOO_LARGE})
# A failure that says nothing about the event itself.
_METERS_UNREADABLE = StripeFailure(type="not_sent", message="the meters could not be read, so nothing was sent")


class _Waiting(Struct, frozen=True, kw_only=True):
    """A call as an event, and the future for its answer."""

    call: Call
    event: Mapping[str, Any]
    answer: asyncio.Future[Answer]


class _Session(Struct, frozen=True, kw_only=True):
    """A session's token. `until` is when it must be renewed, in the clock's monotonic seconds."""

    token: str
    until: float


class _NoSessionError(Exception):
    """There is no session; `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer


class EventStream:
    """Sends calls in shared requests. Each gets its own answer, as from any other endpoint."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._sessions = _Sessions(api, clock)
        self._meters = Meters(api, clock)
        self._most = _most_events()
        self._waiting: list[_Waiting] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_gathering = False

    async def send(self, call: Call) -> Answer:
        """Send one event, batched with others that are waiting."""
        try:
            wrong = await self._meters.fault_of(call.params)
        except StripeError:
            wrong = _METERS_UNREADABLE
        if wrong is not None:
            # Nothing is sent now. But if the event was sent before, it may have been counted; the current meters can't
            # tell.
            verdict = Verdict.UNKNOWN if call.repeated else Verdict.REFUSED
            return Answer(verdict=verdict, failure=wrong, attempts=0)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        event = build_event(call.params, self._meters.value_key(call.params["event_name"]))
        self._waiting.append(_Waiting(call=call, event=event, answer=future))
        if len(self._waiting) >= self._most:
            self._leave()
        elif not self._is_gathering:
            self._is_gathering = True
            self._begin(self._gather())
        return await future

    async def close(self) -> None:
        """Cancel the calls in flight. Their results are then unknown."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _gather(self) -> None:
        await self._clock.sleep(LINGER_SECONDS)
        self._is_gathering = False
        self._leave()

    def _leave(self) -> None:
        """Send the waiting events. There are at most as many as a request accepts."""
        batch, self._waiting = self._waiting, []
        if batch:
            self._begin(self._deliver(batch))

    async def _deliver(self, batch: Sequence[_Waiting], attempts: int = 0) -> None:
        try:
            answer = await self._ask(batch)
        except _NoSessionError as error:
            _resolve(batch, error.answer, attempts)
        except Exception as error:  # noqa: BLE001 - the waiting calls get any error
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
        else:
            status = answer.failure.status if answer.failure else None
            if answer.verdict is Verdict.REFUSED and status in CONTENT_ERRORS and len(batch) > 1:
                # Stripe accepts or rejects a request as a whole, but only the invalid events should be rejected.
                middle = len(batch) // 2
                parts = (batch[:middle], batch[middle:])
                await asyncio.gather(*(self._deliver(part, attempts + answer.attempts) for part in parts))
            else:
                _resolve(batch, answer, attempts)

    async def _ask(self, batch: Sequence[_Waiting]) -> Answer:
        in_doubt = any(waiting.call.repeated for waiting in batch)
        params = {"events": [waiting.event for waiting in batch]}
        session = await self._sessions.current(in_doubt=in_doubt)
        answer = await self._post(params, session, in_doubt=in_doubt)
        if answer.failure is None or answer.failure.status != UNAUTHORIZED:
            return answer
        # Only Stripe knows for certain when a session ends: `billing_meter_event_session_expired`.
        in_doubt = in_doubt or answer.verdict is Verdict.UNKNOWN
        session = await self._sessions.current(in_doubt=in_doubt, instead_of=session)
        again = await self._post(params, session, in_doubt=in_doubt)
        return replace(again, attempts=answer.attempts + again.attempts)

    async def _post(self, params: Mapping[str, Any], session: _Session, *, in_doubt: bool) -> Answer:
        return await self._api.post(METER_EVENT_STREAM, STREAM, params, token=session.token, in_doubt=in_doubt)


class _Sessions:
    """The session that all events share; there is one at a time."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._session: _Session | None = None
        self._lock = asyncio.Lock()

    async def current(self, *, in_doubt: bool, instead_of: _Session | None = None) -> _Session:
        """Return a session that has some time left, other than `instead_of`, which Stripe has rejected.

        Raises `_NoSessionError`. `in_doubt` says that the events may have been sent before.
        """
        async with self._lock:
            session = self._session
            if session is None or session is instead_of or self._clock.monotonic() >= session.until:
                session = self._session = await self._create(in_doubt=in_doubt)
            return session

    async def _create(self, *, in_doubt: bool) -> _Session:
        began = self._clock.monotonic()
        answer = await self._api.post(SESSION_ENDPOINT, SESSION, {}, in_doubt=in_doubt)
        token = answer.body.get("authentication_token")
        if answer.verdict is Verdict.DONE and isinstance(token, str):
            return _Session(token=token, until=began + _lifetime(answer.body) - RENEWED_SECONDS)
        if answer.verdict is Verdict.DONE:
            answer = replace(answer, verdict=Verdict.UNKNOWN, failure=StripeFailure(type="api_error"))
        if in_doubt and answer.verdict is Verdict.REFUSED:
            answer = replace(answer, verdict=Verdict.UNKNOWN)
        raise _NoSessionError(answer)


def build_event(params: Mapping[str, Any], value_key: str) -> dict[str, Any]:
    """Convert API v1's parameters of a meter event to API v2: times as RFC 3339, and the whole payload as text.

    Trailing zeros from a column's scale are removed from the value.
    """
    event = {name: value for name, value in params.items() if value is not None}
    payload = {name: _text(value) for name, value in event["payload"].items() if value is not None}
    if value_key in payload:
        payload[value_key] = shortest(payload[value_key]) or payload[value_key]
    event["payload"] = payload
    if "timestamp" in event:
        moment = datetime.fromtimestamp(int(event["timestamp"]), UTC)
        event["timestamp"] = moment.isoformat().replace("+00:00", "Z")
    return event


def _text(value: Any) -> str:
    """Return a value as the SDK writes it into a form."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _lifetime(session: Mapping[str, Any]) -> float:
    """Return a session's lifetime in seconds, by Stripe's clock, since this machine's may differ."""
    return (_moment(session["expires_at"]) - _moment(session["created"])).total_seconds()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _most_events() -> int:
    bulk = lifecycle_of(RESOURCE).bulk
    return bulk.most if bulk is not None else 1


def _resolve(batch: Sequence[_Waiting], answer: Answer, attempts: int) -> None:
    for waiting in batch:
        # If the run was stopped in the meantime, nobody waits for the answer.
        if not waiting.answer.done():
            waiting.answer.set_result(replace(answer, attempts=attempts + answer.attempts))
