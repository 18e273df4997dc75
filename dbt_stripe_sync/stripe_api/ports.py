"""The Protocols between the parts of the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from dbt_stripe_sync.model.calls import Answer


class Api(Protocol):
    """What the stream of meter events needs from the gateway."""

    async def post(
        self, endpoint: str, path: str, params: Mapping[str, Any], *, token: str | None = None, in_doubt: bool = False
    ) -> Answer:
        """Send a POST to API v2, paced and retried. With a session's `token`, it goes to the host for meter events."""
        ...

    def pages(self, resource: str, params: Mapping[str, Any]) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Yield every page of a list. Raises `StripeError` if a page can't be read."""
        ...
