"""What the gateway and its parts need of the outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from dbt_stripe_sync.model.calls import Answer


class Api(Protocol):
    """What the stream of meter events needs of the gateway."""

    async def post(
        self, endpoint: str, path: str, params: Mapping[str, Any], *, token: str | None = None, in_doubt: bool = False
    ) -> Answer:
        """One POST of API v2, paced and retried. With a session's `token` it goes to the host of meter events."""
        ...

    def pages(self, resource: str, params: Mapping[str, Any]) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Every page of a list. Raises `StripeError` where a page can't be had."""
        ...
