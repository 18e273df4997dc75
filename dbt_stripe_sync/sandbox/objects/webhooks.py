"""Webhook endpoints: stored and returned, but never called. Only the answer to their creation contains the secret."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.family import ApiRequest, Family, refuse
from dbt_stripe_sync.stripe_api.sdk_shapes import blank_of

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work


def _check_url(work: Work, request: ApiRequest) -> None:
    url = str(request.get("url", "https://"))
    if work.livemode and not url.startswith("https://"):
        raise refuse(f'Invalid URL: {url}. URLs in livemode must begin with "https://"', "url", "url_invalid")


def _create(work: Work, request: ApiRequest) -> Body:
    _check_url(work, request)
    # SDK's description of `secret`: Only returned at creation.
    return {**core.create(FAMILY, work, request), "secret": f"whsec_{token_hex(16)}"}


def _update(work: Work, request: ApiRequest) -> Body:
    _check_url(work, request)
    disabled = request.params.pop("disabled", None)
    body = core.update(FAMILY, work, request)
    if disabled is not None:
        body["status"] = "disabled" if disabled else "enabled"
    return body


def _blank() -> Body:
    blank = {name: value for name, value in blank_of("webhook_endpoint").items() if name != "secret"}
    return {**blank, "status": "enabled"}


FAMILY = Family(
    kind="webhook_endpoint",
    object="webhook_endpoint",
    prefix="we",
    blank=_blank,
    operations={"create": _create, "update": _update},
)
FAMILIES = (FAMILY,)
