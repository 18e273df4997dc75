"""Checks a row's values against Stripe's documented rules, and reports those that Stripe would reject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.model.errors import Location
    from dbt_stripe_sync.model.params import Resource
    from dbt_stripe_sync.model.violation import Violation


def foresee_payload(resource: Resource, params: Mapping[str, Any], where: Location, key: str) -> Iterator[Problem]:
    """The problems of all of a row's values, except for times. `where` is the location of the sync."""
    later = {name: value for name, value in params.items() if not resource.params[name].creatable}
    at_first = {name: value for name, value in params.items() if name not in later} if later else params
    for operation, part in (("create", at_first), ("update", later)):
        if operation == "update" and not part:
            continue
        for violation in resource.broken_rules(operation, part, known=params, whole=False):
            yield problem_of(violation, where.at_key(key))


def problem_of(violation: Violation, where: Location) -> Problem:
    """The problem of a row that breaks a rule at a location."""
    advice = violation.hint or "correct its column in the model"
    return Problem(
        code="stripe-rule",
        summary=f"`{'.'.join(violation.path)}` {violation.reason}",
        where=where.at_field("fields", *violation.path),
        hint=f"{advice}; see {violation.source}" if violation.source else advice,
    )
