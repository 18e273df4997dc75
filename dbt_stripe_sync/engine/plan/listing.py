"""Lists a resource completely. A plain list omits objects that are archived, have ended, or belong to a test clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.objects import created_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from dbt_stripe_sync.engine.ports import Stripe
    from dbt_stripe_sync.model.params import Resource

# docs.stripe.com/api/pagination: 100 is the largest page size.
PAGE = 100


async def everything(
    stripe: Stripe, resource: Resource, params: Mapping[str, Any] | None = None, *, since: int | None = None
) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    """Every object that a list with `params` can return, once each, page by page, newest first within each list.

    A list stops at objects older than `since`, in Unix seconds; a list of objects without a time is read to its end.
    Raises `StripeError`.
    """
    asked = dict(params or {})
    lists = resource.lifecycle.listed_with
    # A list of one customer's objects includes those of its test clock.
    has_clocks = resource.lifecycle.hides_test_clocks and not asked.keys() & {"customer", "test_clock"}
    for narrowed in lists:
        async for page in _pages(stripe, resource, {**narrowed, **asked}, since):
            yield [body for body in page if not body.get("test_clock")] if has_clocks else page
    for clock in await stripe.test_clocks() if has_clocks else ():
        for narrowed in lists:
            async for page in _pages(stripe, resource, {**narrowed, **asked, "test_clock": clock}, since):
                yield page


async def _pages(
    stripe: Stripe, resource: Resource, params: Mapping[str, Any], since: int | None
) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    async for page in stripe.pages(resource.name, {**params, "limit": PAGE}):
        yield page
        if since is not None and page and 0 < created_at(page[-1]) < since:
            return
