"""Finds out which account a key writes to. The account, unlike the key, stays the same when the key is rolled."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.calls import Account, Verdict
from dbt_stripe_sync.model.errors import Location, Problem, StripeError
from dbt_stripe_sync.stripe_api.keys import is_live
from dbt_stripe_sync.stripe_api.permissions import READ_ACCOUNT
from dbt_stripe_sync.stripe_api.retry import FORBIDDEN
from dbt_stripe_sync.stripe_api.sdk import api_version
from dbt_stripe_sync.stripe_api.unreadable import unreadable

if TYPE_CHECKING:
    from dbt_stripe_sync.model.calls import Answer

# "The provided key 'rk_test_*' does not have the required permissions for this endpoint on account 'acct_…'. Having the
# 'rak_accounts_kyc_basic_read' permission would allow this request to continue." (stripe/stripe-node#2246)
_ACCOUNT = re.compile(r"\bacct_\w+")


def build_account(answer: Answer, *, named: str | None, key: str, address: str) -> Account:
    """Build the account of a key from the answer to `GET /v1/account`.

    If the key may not read its account, the id is taken from the error's message, or else from the settings (`named`).
    Raises `StripeError` if neither names it.
    """
    failure = answer.failure
    if answer.verdict is Verdict.DONE:
        return Account(id=answer.body["id"], livemode=is_live(key), api_version=api_version())
    if failure is None or failure.status != FORBIDDEN or failure.type != "permission":
        raise StripeError(unreadable(failure, "the account", address))
    named_in_error = _ACCOUNT.search(failure.message or "")
    found = named_in_error[0] if named_in_error else named
    if found is None:
        raise StripeError(_unnamed())
    return Account(id=found, livemode=is_live(key), api_version=api_version())


def _unnamed() -> Problem:
    return Problem(
        code="no-account",
        summary="the restricted key can't read its account, and the settings don't name it",
        where=Location(field="vars.stripe_sync.account"),
        hint=f"add `account: acct_…` to vars.stripe_sync, or give the key the permission `{READ_ACCOUNT}` at "
        "https://dashboard.stripe.com/apikeys",
    )
