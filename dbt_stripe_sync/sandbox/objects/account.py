"""The account that a key belongs to, and its balance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.sandbox import family as core
from dbt_stripe_sync.sandbox.errors import ApiError
from dbt_stripe_sync.sandbox.family import ApiRequest, ExtraRoute, Family

if TYPE_CHECKING:
    from dbt_stripe_sync.sandbox.store import Body
    from dbt_stripe_sync.sandbox.work import Work

# The account is older than anything in it.
ACCOUNT_CREATED = 1_600_000_000


def own_account(account: str) -> Body:
    """Return the account itself (docs.stripe.com/api/accounts/object)."""
    return {
        "id": account,
        "object": "account",
        "business_profile": {"mcc": None, "name": "Sandbox", "support_email": None, "url": None},
        "business_type": None,
        "capabilities": {},
        "charges_enabled": True,
        "country": "US",
        "created": ACCOUNT_CREATED,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "sandbox@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "type": "standard",
    }


def _current(_work: Work, request: ApiRequest) -> Body:
    return own_account(request.account)


def _retrieve(work: Work, request: ApiRequest) -> Body:
    if request.id == request.account:
        return own_account(request.account)
    if not work.has(ACCOUNT.kind, request.id):
        raise ApiError(
            f"The provided key does not have access to account '{request.id}' (or that account does not exist). "
            "Application access may have been revoked.",
            status=403,
            code="account_invalid",
        )
    return work.get(ACCOUNT.kind, request.id)


def _balance(work: Work, _ask: ApiRequest) -> Body:
    nothing = [{"amount": 0, "currency": "usd", "source_types": {"card": 0}}]
    return {"object": "balance", "available": nothing, "livemode": work.livemode, "pending": nothing}


def _create(work: Work, request: ApiRequest) -> Body:
    body = core.create(ACCOUNT, work, request)
    body.pop("livemode")
    return body


ACCOUNT = Family(
    kind="account",
    object="account",
    prefix="acct",
    blank={
        "charges_enabled": False,
        "created": 0,
        "details_submitted": False,
        "metadata": {},
        "payouts_enabled": False,
    },
    operations={"create": _create, "retrieve": _retrieve, "retrieve_current": _current},
)
BALANCE = Family(
    kind="balance",
    object="balance",
    prefix="bal",
    routes=(ExtraRoute(name="retrieve", method="get", path="/v1/balance", handler=_balance),),
)
FAMILIES = (ACCOUNT, BALANCE)
