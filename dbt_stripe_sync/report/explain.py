"""Explains what a Stripe failure means to a dbt user, and what to change, by its code, type or status."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dbt_stripe_sync.report.error_codes import (
    BY_CODE,
    BY_MESSAGE,
    BY_STATUS,
    BY_TYPE,
    MISSING_BY_PARAM,
    OWN_ID,
    OWN_IS_MISSING,
    SERVER,
    UNEXPLAINED,
    Explanation,
)

if TYPE_CHECKING:
    from dbt_stripe_sync.model.calls import StripeFailure
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.run import Outcome

SERVER_ERROR = 500
MISSING = "resource_missing"
PERMISSION = "permission"
# Stripe names it like this: Having the 'rak_plan_write' permission would allow this request to continue.
_PERMISSION = re.compile(r"'(rak_\w+)'")
_KEYS = "https://dashboard.stripe.com/apikeys"
_STEP = re.compile(r"\[([^\]]*)\]")


def explain(failure: StripeFailure) -> Explanation:
    """What a failure means and what to do.

    If a code has several meanings, Stripe's message decides. `fill_in` replaces the words in braces in the hint.
    """
    message = failure.message or ""
    if failure.type == PERMISSION and (named := _PERMISSION.findall(message)):
        return Explanation(
            meaning=BY_TYPE[PERMISSION].meaning,
            hint=f"give the restricted key {' or '.join(f'`{name}`' for name in named)} at {_KEYS}",
        )
    for words, explanation in BY_MESSAGE.items():
        if words in message:
            return explanation
    if failure.code == MISSING and (missing := _missing(failure.param)) is not None:
        return missing
    if failure.code is not None and failure.code in BY_CODE:
        return BY_CODE[failure.code]
    if failure.type in BY_TYPE:
        return BY_TYPE[failure.type]
    if failure.status is not None and failure.status in BY_STATUS:
        return BY_STATUS[failure.status]
    if failure.status is not None and failure.status >= SERVER_ERROR:
        return SERVER
    return UNEXPLAINED


def explain_outcome(outcome: Outcome) -> Explanation | None:
    """What the failure of a change means, or None.

    Stripe names a missing object by the parameter of its kind (`price`, `coupon`), even if it is the row's own object.
    """
    if outcome.failure is None:
        return None
    return OWN_IS_MISSING if _is_own_missing(outcome) else explain(outcome.failure)


def _is_own_missing(outcome: Outcome) -> bool:
    message = (outcome.failure.message if outcome.failure else None) or ""
    return outcome.is_object_missing and not any(words in message for words in BY_MESSAGE)


def fill_in(text: str, failure: StripeFailure, change: Change) -> str:
    """A meaning or a hint with the names of the sync, the resource and the field that it is about."""
    path = param_path(failure.param)
    return (
        text.replace("{sync}", f"`{change.sync}`")
        .replace("{resource}", change.resource.replace("_", " "))
        .replace("{name}", change.resource)
        # One cause may affect many rows.
        .replace("{forget}", f"state forget {change.sync} KEY")
        .replace("{field}", f"`{path}`" if path else "the field that Stripe names")
    )


def _missing(param: str | None) -> Explanation | None:
    """What it means that an object named by a parameter is missing."""
    path = param_path(param)
    if path is None or path == OWN_ID:
        return OWN_IS_MISSING if path else None
    return MISSING_BY_PARAM.get(path.rpartition(".")[2])


def param_path(param: str | None) -> str | None:
    """Stripe's name of a parameter as a dotted path: `items[0][price]` is `items.0.price`."""
    return None if param is None else _STEP.sub(lambda found: f".{found[1]}" if found[1] else "", param)
