"""The resources that can't be synced, each with the reason."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SHORT_LIVED = "it expires within minutes, so a row of a table can't represent it"
_MONEY = "it moves money immediately, so rebuilding a table must never create one"
_PAYMENT = "it takes a payment from a customer who has to be present"
_CARD = "it is created from card or bank details, which don't belong in a warehouse"
_ANSWER = "it answers a single request and stores nothing to sync"
_DEVICE = "it needs a device or a person"
_MONEY_ACCOUNT = "it lets an account receive money, so a person should set it up"
_ACCOUNT = "it is set up once per account, by hand or by your platform's own code"

REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "account.login_link": _SHORT_LIVED,
        "account_link": _SHORT_LIVED,
        "account_session": _SHORT_LIVED,
        "billing_portal.session": _SHORT_LIVED,
        "checkout.session": _SHORT_LIVED,
        "customer_session": _SHORT_LIVED,
        "ephemeral_key": _SHORT_LIVED,
        "financial_connections.session": _SHORT_LIVED,
        "identity.verification_session": _DEVICE,
        "terminal.connection_token": _SHORT_LIVED,
        "terminal.onboarding_link": _SHORT_LIVED,
        "token": _SHORT_LIVED,
        "source": _CARD,
        "customer.payment_source": _CARD,
        "payment_method": _CARD,
        "account.external_account": _CARD,
        "application_fee.refund": _MONEY,
        "charge": _MONEY,
        "climate.order": _MONEY,
        "payout": _MONEY,
        "refund": _MONEY,
        "topup": _MONEY,
        "transfer": _MONEY,
        "transfer.reversal": _MONEY,
        "treasury.credit_reversal": _MONEY,
        "treasury.debit_reversal": _MONEY,
        "treasury.inbound_transfer": _MONEY,
        "treasury.outbound_payment": _MONEY,
        "treasury.outbound_transfer": _MONEY,
        "payment_intent": _PAYMENT,
        "setup_intent": _PAYMENT,
        "three_d_secure.authentication": _PAYMENT,
        "customer.funding_instruction": _ANSWER,
        "forwarding.request": _ANSWER,
        "radar.payment_evaluation": _ANSWER,
        "reporting.report_run": _ANSWER,
        "tax.calculation": _ANSWER,
        "file": "it is created from the bytes of a file, which a column can't contain",
        "apps.install": _ACCOUNT,
        "apps.secret": "secrets don't belong in a warehouse",
        "apple_pay_domain": _ACCOUNT,
        "treasury.financial_account": _ACCOUNT,
    }
)

# What the SDK can create only through API v2. Settings name only services of API v1 in `resource:`.
REFUSED_V2: Mapping[str, str] = MappingProxyType(
    {
        "v2.billing.meter_event": "`billing.meter_event` sends the same events",
        "v2.billing.meter_event_adjustment": "`billing.meter_event_adjustment` does the same",
        "v2.billing.meter_event_session": _SHORT_LIVED,
        "v2.billing.meter_event_stream": "use `billing.meter_event` with the option `stream: true`",
        "v2.commerce.product_catalog.import": "it is created from the bytes of a file, which a column can't contain",
        "v2.core.account": "`account` writes the accounts of your platform's merchants",
        "v2.core.account_link": _SHORT_LIVED,
        "v2.core.account_token": _SHORT_LIVED,
        "v2.core.accounts.person": "`account.person` writes the same people",
        "v2.core.accounts.person_token": _SHORT_LIVED,
        "v2.core.event_destination": "`webhook_endpoint` sends events to a URL; an event bus at Amazon or Azure "
        + _ACCOUNT.removeprefix("it "),
        "v2.core.vault.gb_bank_account": _CARD,
        "v2.core.vault.us_bank_account": _CARD,
        "v2.money_management.financial_address": _MONEY_ACCOUNT,
        "v2.money_management.inbound_transfer": _MONEY,
        "v2.money_management.outbound_payment": _MONEY,
        "v2.money_management.outbound_setup_intent": _CARD,
        "v2.money_management.payout_intent": _MONEY,
        "v2.money_management.recipient_verification": _ANSWER,
    }
)
