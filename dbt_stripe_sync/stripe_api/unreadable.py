"""Explains why something could not be read from Stripe, as a problem with a hint."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.errors import Problem
from dbt_stripe_sync.stripe_api.retry import FORBIDDEN, UNAUTHORIZED

if TYPE_CHECKING:
    from dbt_stripe_sync.model.calls import StripeFailure

CERTIFICATE = "its certificate is not trusted"
# The gateway's types of failure for an answer that isn't Stripe's.
FOREIGN = frozenset({"redirect", "not_stripe"})
_PERMISSION = re.compile(r"'(rak_\w+)'")


def unreadable(failure: StripeFailure | None, what: str, address: str) -> Problem:
    """Return the problem that `what` could not be read."""
    status = failure.status if failure else None
    message = (failure.message if failure else None) or ""
    if failure is not None and failure.type in FOREIGN:
        return _not_stripe(address, message)
    if status == UNAUTHORIZED:
        return Problem(
            code="stripe-auth",
            summary="Stripe does not know the key",
            hint="copy a current one from https://dashboard.stripe.com/apikeys; it may have been rolled or revoked",
        )
    if status == FORBIDDEN:
        needed = _PERMISSION.search(message)
        which = f"the permission `{needed[1]}`" if needed else "that permission"
        return Problem(
            code="stripe-permission",
            summary=f"the key may not read {what}",
            hint=f"give the restricted key {which} at https://dashboard.stripe.com/apikeys",
        )
    if status is None:
        return _unreachable(address, message)
    return Problem(
        code="stripe-read-failed",
        summary=f"{what} could not be read: Stripe answered {status}",
        hint="run it again; https://status.stripe.com shows whether Stripe has an incident",
    )


def endless_list(resource: str, address: str) -> Problem:
    """Return the problem of a list whose next page is the same as the last one."""
    return _not_stripe(address, f"the list of `{resource}` gives the same page again and again")


def _not_stripe(address: str, why: str) -> Problem:
    return Problem(
        code="stripe-unreachable",
        summary=f"what answers at {address} is not Stripe: {why}",
        hint="something answers in Stripe's place: check `--stripe-url`, STRIPE_API_BASE and the proxy (HTTPS_PROXY)",
    )


def _unreachable(address: str, why: str) -> Problem:
    if why.startswith(CERTIFICATE):
        return Problem(
            code="stripe-certificate",
            summary=f"the connection to {address} is not safe, so nothing was sent: {why}",
            hint="if your company's proxy intercepts TLS, name its certificate in SSL_CERT_FILE; otherwise check the "
            "address",
        )
    return Problem(
        code="stripe-unreachable",
        summary=f"{address} can't be reached{f': {why}' if why else ''}",
        hint="check the network and its proxy (HTTPS_PROXY); for the sandbox, start `dbt-stripe-sync sandbox` and pass "
        "its address as `--stripe-url`",
    )
