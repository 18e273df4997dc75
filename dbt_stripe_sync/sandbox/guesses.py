"""The sandbox's undocumented behavior: the list in docs/sandbox.md.

Where the code guesses, a comment names the guess; a test compares names, comments and the page. Rules and errors
without a source are also on the page, from `stripe_api.rules` and `grounds`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

GUESSES: Mapping[str, str] = {
    "every-card-works": "**Every card works**, and a customer without one can be charged. Stripe rejects a "
    "`charge_automatically` subscription without a payment method; with `--require-payment-methods` the sandbox "
    "does, too. The test methods `pm_card_chargeDeclined` and `pm_card_chargeCustomerFail` are declined.",
    "test-methods": "The ids of test payment methods (`pm_card_visa`, `pm_usBankAccount` …) work for every customer. "
    "Any other id must belong to a payment method that was created and attached. Sources and cards of the older API "
    "(`default_source`) aren't checked.",
    "saved-refusals": "Which errors are saved under an idempotency key: parameter errors, 401, 403, 409, 429 and 502 "
    "to 504 aren't saved. Errors that an endpoint returns once it has started (`resource_missing`, "
    "`resource_already_exists`, a wrong status, a declined card) are.",
    "wording": "The exact wording of many errors. Types, codes, parameters and statuses follow Stripe's documentation.",
    "clearing": "An empty string clears the fields that can be cleared according to the SDK's types, and is an error "
    "for others.",
    "search-matching": "Exact-match search ignores case for every field; `~` finds any part of a text, not only "
    "whole words.",
    "restricted-keys": "Restricted keys have only the permissions in the table above.",
    "rate-limits": "Rate limits don't include concurrency limits or limits per object.",
    "prorations": "Prorations are exact to the second, and credits have no taxes or discounts.",
    "billing-modes": "The flexible billing mode differs from the classic one only in that it accepts prices of "
    "different intervals and more items.",
    "usage-not-billed": "Usage is counted but not billed: a metered line costs 0, and credit grants aren't used up.",
    "retries": "A renewal whose card is declined leaves the subscription `past_due`, and the charge isn't retried.",
    "deleted-drafts": "When a draft is deleted, its invoice items become pending again.",
    "no-payment-objects": "Invoices have no payment intents or charges. No events and no webhooks are sent. "
    "Automatic tax computes nothing.",
    "first-draft": "`send_invoice` subscriptions start with a draft that is finalized after an hour, as renewals are.",
    "canceled-incomplete": "A canceled incomplete subscription is `canceled`.",
    "quote-dates": "Accepting a quote with an `effective_date` in the future subscribes immediately instead of "
    "creating a schedule.",
    "schedule-phases": "A schedule's phases change the subscription when the clock advances; a phase's "
    "`add_invoice_items` and the discounts of its items aren't billed.",
    "finalized-invoices": "On a finalized invoice, only the metadata, the payment settings and `auto_advance` can be "
    "changed; Stripe names only some of the fields that it fixes.",
    "settled-quotes": "An accepted or canceled quote rejects `expires_at`.",
    "previews": "A preview of a schedule shows its subscription unchanged; `pdf` and other computed reads return an "
    "empty shape.",
    "event-customers": "Meter events don't check that the customer exists (Stripe does so later, and reports it with "
    "an event).",
    "stream": "The stream rejects a whole request if one of its events isn't valid. Reasons are unknown or missing "
    "parameters, values that aren't text, an invalid time, and an identifier of more than 100 characters. Events that "
    "the ordinary endpoint would reject are accepted and dropped, including a second event with the same identifier, "
    "and no event reports it. The limit counts requests, not events. A failed request of API v2 is executed again "
    "under its key, and a successful answer is kept for 24 hours there, too.",
    "event-digits": "The digits of a meter event's value are counted without leading and trailing zeros.",
    "whole-amounts": "Amounts of prices, plans, coupons, shipping rates and invoice items follow the rule for "
    "payments on Stripe's currencies page. They end in 0 in three-decimal currencies, and in 00 in ISK and UGX.",
    "chargeable-amounts": "A price or plan can't exceed the amount that Stripe can charge at once; Stripe may accept "
    "a higher one, up to twelve digits.",
    "one-currency": "A customer's currency is fixed by subscriptions that haven't ended, schedules that haven't "
    "started, open quotes and pending invoice items; discounts don't count.",
    "own-currency": "A price's own currency is rejected among its `currency_options` at creation, as Stripe rejects "
    "it in updates.",
    "natural-date": "The latest `billing_cycle_anchor` is one interval after now, or after the trial.",
    "least-charges": "The smallest `minimum` of a custom amount is Stripe's least charge for its currency. For an "
    "account that settles in another one, Stripe converts that one's least charge instead.",
    "tax-id-forms": "The formats of tax ids other than `eu_vat` and `gb_vat` follow the one example that Stripe's page "
    "has of each. Types without a format here are accepted as they are, and so are an address's country and a "
    "`days_until_due`.",
    "schedule-anchors": "The first phase in an update of an active schedule must start when one of its phases started.",
    "other-resources": "Other resources have no rules between their parameters, and an action such as `confirm` only "
    "changes `status`. They return their parameters as given, even if Stripe returns something else. These are "
    "accounts and their persons, portal and payment method configurations, Issuing cards and cardholders, and tax "
    "registrations.",
}
