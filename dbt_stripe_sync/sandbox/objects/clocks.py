"""Test clocks: their customers' time moves only when it is advanced (docs.stripe.com/billing/testing/test-clocks)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, ExtraRoute, Family, refuse
from dbt_stripe_sync.sandbox.objects.periods import DAY

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

_PATH = "/v1/test_helpers/test_clocks"
KEPT_DAYS = 30


def use_clock_of(work: Work, customer: Body) -> None:
    """Process the rest of the request at the time of the customer's clock."""
    work.now = time_of(work, customer["test_clock"])


def time_of(work: Work, clock: str | None) -> int:
    """Return the time of a test clock in Unix seconds, or the time of the request without one."""
    held = work.shown(FAMILY.kind, clock) if clock else None
    return work.now if held is None or "frozen_time" not in held else int(held["frozen_time"])


def _create(work: Work, request: ApiRequest) -> Body:
    if "frozen_time" not in request.params:
        raise refuse("Missing required param: frozen_time.", "frozen_time", "parameter_missing")
    body = core.new_body(FAMILY, work)
    body["frozen_time"] = int(request.params["frozen_time"])
    body["name"] = request.get("name")
    body["deletes_after"] = work.now + KEPT_DAYS * DAY
    return work.add(FAMILY.kind, body)


def _advance(work: Work, request: ApiRequest) -> Body:
    body = work.edit(FAMILY.kind, request.id)
    target = int(request.params.get("frozen_time", 0))
    if target <= body["frozen_time"]:
        raise refuse("The frozen time must be after the clock's current one.", "frozen_time")
    body["frozen_time"] = work.now = target
    for kind, family in work.families.items():
        if family.tick is not None:
            for held in work.find(kind, {"test_clock": body["id"]}):
                work.now = target
                family.tick(work, held)
    return body


def _delete(work: Work, request: ApiRequest) -> Body:
    """Delete a test clock together with its customers."""
    for customer in work.find("customer", {"test_clock": request.id}):
        for kind in ("subscription", "invoice", "invoice_item", "quote"):
            for body in work.find(kind, {"customer": customer["id"]}):
                work.remove(kind, body["id"])
        work.remove("customer", customer["id"])
    return core.delete(FAMILY, work, request)


FAMILY = Family(
    kind="test_helpers.test_clock",
    object="test_helpers.test_clock",
    prefix="clock",
    blank={
        "name": None,
        "status": "ready",
    },
    routes=(
        ExtraRoute(name="create", method="post", path=_PATH, handler=_create),
        ExtraRoute(name="list", method="get", path=_PATH),
        ExtraRoute(name="retrieve", method="get", path=f"{_PATH}/{{test_clock}}"),
        ExtraRoute(name="delete", method="delete", path=f"{_PATH}/{{test_clock}}", handler=_delete),
        ExtraRoute(name="advance", method="post", path=f"{_PATH}/{{test_clock}}/advance", handler=_advance),
    ),
)
FAMILIES = (FAMILY,)
