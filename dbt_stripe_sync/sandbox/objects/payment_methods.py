"""Payment methods: created on their own, and usable once attached to a customer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.objects.plain import plain_family

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.family import ApiRequest
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

KIND = "payment_method"


def _attach(work: Work, request: ApiRequest) -> Body:
    """Attach a payment method to a customer (docs.stripe.com/api/payment_methods/attach)."""
    body = work.edit(KIND, request.id)
    body["customer"] = core.reference(work, "customer", str(request.get("customer", "")), "customer")["id"]
    return body


def _detach(work: Work, request: ApiRequest) -> Body:
    """Detach a payment method from its customer (docs.stripe.com/api/payment_methods/detach)."""
    body = work.edit(KIND, request.id)
    body["customer"] = None
    return body


FAMILY = replace(plain_family(KIND), operations={"attach": _attach, "detach": _detach})
FAMILIES = (FAMILY,)
