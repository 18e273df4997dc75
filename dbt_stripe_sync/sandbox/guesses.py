"""What the sandbox does without a document that says so: the list of docs/sandbox.md.

Where the code guesses, a comment names the guess; a test holds names, comments and page together. Rules and refusals
without a source are on the page too, found in `stripe_api.rules` and in `grounds`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

GUESSES: Mapping[str, str] = {
    "every-card-works": "**Every card works**, and a customer without one can be charged. Stripe refuses a "
    "`charge_automatically` subscription without a payment method; `--require-payment-methods` does so too. The "
    "test methods `pm_card_chargeDeclined` and `pm_card_chargeCustomerFail` are declined.",
    "test-methods": "The ids of test payment methods (`pm_card_visa`, `pm_usBankAccount` …) stand for methods of "
    "every customer. Any other id must be of a payment method that was created and attached. Sources and cards of "
    "the older API (`default_source`) are not checked.",
    "saved-refusals": "Which refusals an idempotency key keeps: parameter errors, 401, 403, 409, 429 and 502 to "
    "504 are not kept; what an endpoint refused once it had begun (`resource_missing`, `resource_already_exists`, "
    "a wrong state, a declined card) is.",
    "wording": "The exact words of many refusals. Types, codes, parameters and statuses follow Stripe's documentation.",
    "clearing": "An empty string clears what the SDK's types say can be cleared, and is an error elsewhere.",
    "search-matching": "Exact-match search ignores case for every field; `~` finds any part of a text, not only "
    "whole words.",
    "restricted-keys": "Restricted keys have no permissions but those of the table above.",
    "rate-limits": "Rate limits know no concurrency and no limits per object.",
    "prorations": "Proration counts time exactly, and credits carry no taxes or discounts.",
    "billing-modes": "A flexible billing mode differs from the classic one only in that it accepts prices of "
    "different intervals and more items.",
    "usage-not-billed": "Usage is counted but not billed: a metered line costs 0, credit grants are not drawn down.",
    "retries": "A renewal whose card is declined leaves the subscription `past_due`, and nothing tries again.",
    "deleted-drafts": "A deleted draft gives its invoice items back as pending ones.",
    "no-payment-objects": "An invoice has no payment objects behind it, so there are no payment intents and "
    "charges for it. No events and no webhooks are sent. Automatic tax computes nothing.",
    "first-draft": "`send_invoice` subscriptions start with a draft that is finalised after an hour, as renewals are.",
    "canceled-incomplete": "A canceled incomplete subscription is `canceled`.",
    "quote-dates": "Accepting a quote with an `effective_date` in the future subscribes at once instead of making "
    "a schedule.",
    "schedule-phases": "A schedule's phases change the subscription when time is moved; `add_invoice_items` of a "
    "phase and discounts of its items are not billed.",
    "finalised-invoices": "A finalised invoice takes changes of its metadata, its way of payment and `auto_advance` "
    "alone; Stripe only names some of the fields that it fixes.",
    "settled-quotes": "An accepted or canceled quote takes no `expires_at`.",
    "previews": "A preview of a schedule shows its subscription as it is; `pdf` and other reads that compute "
    "something answer with an empty shape.",
    "event-customers": "Meter events do not check that the customer exists (Stripe does it later, by an event of "
    "its own).",
    "stream": "The stream refuses a request as a whole for what is no event at all: unknown or missing "
    "parameters, values that are no text, a time that is none, an identifier of more than 100 characters. What "
    "the ordinary endpoint would refuse of an event it accepts and drops, a second identifier too; no event tells "
    "of it. Its limit counts requests, not events. A failed request of API v2 is carried out anew under its key, "
    "and a good answer is kept for 24 hours there too.",
    "event-digits": "The digits of a meter event's value are counted without zeros at their ends.",
    "whole-amounts": "Amounts of prices, plans, coupons, shipping rates and invoice items follow the rule that "
    "Stripe's currencies page has for payments: they end in 0 in three-decimal currencies, in 00 in ISK and UGX.",
    "chargeable-amounts": "A price or plan costs at most what Stripe can charge at once; Stripe may keep a higher one, "
    "up to twelve digits.",
    "one-currency": "A customer's currency is held by subscriptions that have not ended, schedules that have not "
    "started, open quotes and pending invoice items; discounts don't count.",
    "own-currency": "A price's own currency is refused among its `currency_options` at creation, as Stripe "
    "refuses it in updates.",
    "natural-date": "The latest `billing_cycle_anchor` is one interval after now, or after the trial.",
    "unchecked-forms": "The form of a tax id is checked only for the types that docs/stripe-rules.md names; an "
    "address's country, a `days_until_due` and a URL may be anything.",
    "schedule-anchors": "The first phase in an update of an active schedule must start where one of its phases "
    "started.",
    "other-resources": "Other resources have no rules between their parameters, and an action such as `confirm` "
    "only moves `status`. They show their parameters as they were given, also where Stripe shows something else: "
    "accounts and their persons, portal and payment method configurations, cards and cardholders of Issuing, tax "
    "registrations.",
}
