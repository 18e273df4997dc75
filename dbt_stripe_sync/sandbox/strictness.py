"""Enforces Stripe's documented rules on a request before its endpoint begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox.errors import bad_request
from dbt_stripe_sync.sandbox.objects.clocks import time_of
from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.rules.checking import check_rules
from dbt_stripe_sync.stripe_api.rules.rule import UPDATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.sandbox.routes import Route
    from dbt_stripe_sync.sandbox.work import Work


def enforce_rules(route: Route, path: Mapping[str, str], params: Mapping[str, Any], work: Work) -> None:
    """Raise the `ApiError` of the first rule that a request breaks, including guessed rules."""
    resource = read_catalog().resource(route.resource)
    if resource is None:
        return
    now, known = _now(route, path, params, work), _known(route, path, work)
    for violation in check_rules(resource, route.operation, params, now=now, known=known, whole=True, guesses=True):
        first, *rest = violation.path
        raise bad_request(violation.message, "".join([first, *(f"[{step}]" for step in rest)]), violation.code)


def _known(route: Route, path: Mapping[str, str], work: Work) -> Mapping[str, Any]:
    """Return the object that an update changes, as it was before."""
    held = work.shown(route.family.kind, list(path.values())[-1]) if path and route.operation == UPDATE else None
    return held or {}


def _now(route: Route, path: Mapping[str, str], params: Mapping[str, Any], work: Work) -> int:
    """Return the time of the request's test clock, or the current time."""
    named = params.get("customer")
    held = work.shown(route.family.kind, list(path.values())[-1]) if path else None
    clock = params.get("test_clock") or (held or {}).get("test_clock")
    if not clock and isinstance(named, str):
        clock = (work.shown("customer", named) or {}).get("test_clock")
    return time_of(work, clock)
