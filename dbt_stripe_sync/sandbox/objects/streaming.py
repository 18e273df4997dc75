"""The high-throughput API for meter events: sessions, and a stream that accepts events before it validates them.

See docs.stripe.com/api/v2/billing-meter-stream.
"""

from __future__ import annotations

import contextlib
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.errors import ApiError
from dbt_stripe_sync.sandbox.family import ApiRequest, ExtraRoute, Family, refuse
from dbt_stripe_sync.sandbox.objects.metering import METER_EVENT, count_event
from dbt_stripe_sync.sandbox.v2 import as_time, parse_time
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.rules.rule import CREATE
from dbt_stripe_sync.stripe_api.sdk import read_methods
from dbt_stripe_sync.stripe_api.sdk_params import read_params

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.params import Param
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

STREAM = "/v2/billing/meter_event_stream"
SESSION_SECONDS = 15 * 60
MOST_EVENTS = 100
IDENTIFIER_CHARACTERS = 100


def _create_session(work: Work, _ask: ApiRequest) -> Body:
    body = core.new_body(SESSION, work)
    body.update(
        authentication_token=f"token_{token_hex(16)}",
        created=as_time(work.moment),
        expires_at=as_time(work.moment + SESSION_SECONDS),
    )
    return work.add(SESSION.kind, body)


def _take_events(work: Work, request: ApiRequest) -> Body:
    events = request.params["events"]
    if not 1 <= len(events) <= MOST_EVENTS:
        raise refuse(f"Invalid events: must have between 1 and {MOST_EVENTS} of them.", "events")
    # A guess: `stream`.
    timed = [_with_moment(work, f"events[{index}]", event) for index, event in enumerate(events)]
    rules = read_catalog().resources[METER_EVENT.kind].broken_rules
    for event in timed:
        # Stripe finds invalid events after it has answered, and reports them with an event.
        if any(rules(CREATE, event, now=work.now)):
            continue
        with contextlib.suppress(ApiError):
            count_event(work, event)
    return {}


def _with_moment(work: Work, name: str, event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with its time in Unix seconds. Raises `ApiError` for an invalid identifier or time."""
    if len(event.get("identifier", "")) > IDENTIFIER_CHARACTERS:
        raise refuse(
            f"Invalid {name}.identifier: must be at most {IDENTIFIER_CHARACTERS} characters.", f"{name}.identifier"
        )
    given = event.get("timestamp")
    moment = work.now if given is None else int(parse_time(f"{name}.timestamp", given))
    return {**event, "timestamp": moment}


def _params(service: str) -> Mapping[str, Param]:
    method = read_methods(f"stripe.v2.billing.{service}")["create"]
    return read_params(str(method.params_module), str(method.params_class))


SESSION = Family(
    kind="billing.meter_event_session",
    object="v2.billing.meter_event_session",
    prefix="mes",
    routes=(
        ExtraRoute(
            name="create",
            method="post",
            path="/v2/billing/meter_event_session",
            handler=_create_session,
            params=_params("_meter_event_session_service"),
        ),
    ),
)
EVENTS = Family(
    kind="billing.meter_event_stream",
    object="v2.billing.meter_event_stream",
    prefix="mest",
    routes=(
        ExtraRoute(
            name="create",
            method="post",
            path=STREAM,
            handler=_take_events,
            params=_params("_meter_event_stream_service"),
        ),
    ),
)
FAMILIES = (SESSION, EVENTS)
