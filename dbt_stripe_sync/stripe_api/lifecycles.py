"""The lifecycles of resources for which Stripe has special rules, each as an entry of data.

The rules are from docs.stripe.com/api: from the object's own page, unless another one is named.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from dbt_stripe_sync.model.lifecycle import (
    STREAM,
    Bulk,
    ByStatus,
    CutsShort,
    Entries,
    Finish,
    HeldBy,
    ItemList,
    Lifecycle,
    Mode,
    NotReplaced,
    Removal,
    Replace,
    Step,
    Unique,
    UsedBy,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


INSERT_ONLY = frozenset({Mode.INSERT})
NEVER_UPDATED = frozenset({Mode.UPSERT, Mode.INSERT})
DELETE = Step(operation="delete")
ARCHIVE = Step(operation="update", params={"active": False}, gone=False, revive={"active": True})

# docs.stripe.com/billing/subscriptions/prorations: these apply to one request; the next one without them prorates
# again.
_CHARGE_OPTIONS = ("proration_behavior", "payment_behavior", "off_session")
_LIVE_SUBSCRIPTION = ("active", "trialing", "past_due", "unpaid", "paused", "incomplete")
_CANCEL_AT_END = Step(
    operation="update",
    params={"cancel_at_period_end": True},
    gone=False,
    revive={"cancel_at_period_end": False},
)
_CANCEL = Step(operation="cancel", becomes="canceled")
# A phase's time and what it sells. With an old end or price, it would be a different phase.
_PHASE_IDENTITY = frozenset(
    {
        "currency",
        "duration",
        "end_date",
        "iterations",
        "plan",
        "price",
        "price_data",
        "start_date",
        "trial",
        "trial_end",
    }
)
_VOID = Step(operation="void_invoice", becomes="void")

# docs.stripe.com/api/prices/update: `tax_behavior` is final once it is inclusive or exclusive.
_NO_TAX_BEHAVIOR = "unspecified"

LIFECYCLES: Mapping[str, Lifecycle] = MappingProxyType(
    {
        "customer": Lifecycle(
            found_by=("id", "email", "metadata"),
            on_removed={Removal.DELETE: DELETE},
            permanent=frozenset({Removal.DELETE}),
            when_immutable_changes=NotReplaced(reason="Stripe accepts it only when the customer is created"),
            # docs.stripe.com/billing/customer/balance: every invoice changes it. Every invoice also takes the next
            # number.
            moved_by_stripe=("balance", "next_invoice_sequence"),
            note="deleting a customer can't be undone and cancels its subscriptions immediately",
            # docs.stripe.com/api/customers/delete. The list omits subscriptions that are already canceled. A schedule
            # that has started has a subscription; one that hasn't would start without a customer.
            ends_with_it=(
                HeldBy(resource="subscription", parameter="customer", listed_by="customer"),
                HeldBy(
                    resource="subscription_schedule",
                    parameter="customer",
                    listed_by="customer",
                    listed_with={"scheduled": True},
                ),
            ),
        ),
        "product": Lifecycle(
            found_by=("id", "metadata", "name", "url"),
            # docs.stripe.com/api/products/delete: only a product without prices can be deleted, and prices can't be
            # deleted.
            on_removed={Removal.ARCHIVE: ARCHIVE, Removal.DELETE: DELETE},
            kept_by=tuple(
                HeldBy(resource="price", parameter="product", listed_by="product", listed_with={"active": active})
                for active in (True, False)
            ),
            permanent=frozenset({Removal.DELETE}),
            own_id=True,
            when_immutable_changes=NotReplaced(reason="Stripe accepts it only when the product is created"),
        ),
        "price": Lifecycle(
            found_by=("id", "lookup_key", "metadata"),
            on_removed={Removal.ARCHIVE: ARCHIVE},
            # The new price takes over the key in one step (docs.stripe.com/products-prices/manage-prices#lookup-keys).
            when_immutable_changes=Replace(
                carry_over={"transfer_lookup_key": True},
                gives_up=("lookup_key",),
                takes_over={"product_data": "product"},
            ),
            uniques=(Unique(parameter="lookup_key", transfer="transfer_lookup_key"),),
            # "This price cannot be archived because it is the default price of its product."
            held_by=(HeldBy(resource="product", parameter="default_price", named_by="product", moves=True),),
            # docs.stripe.com/billing/subscriptions/multi-currencies: the currency of a subscription can't be changed.
            needs_one_of=(
                ("product", "product_data"),
                ("unit_amount", "unit_amount_decimal", "custom_unit_amount", "tiers"),
            ),
            not_followed={"currency": ("subscription", "subscription_item", "subscription_schedule")},
            # docs.stripe.com/api/prices/object: neither is included by default.
            shown_if_asked=("currency_options", "tiers"),
            set_once=dict.fromkeys(("tax_behavior", "currency_options.*.tax_behavior"), _NO_TAX_BEHAVIOR),
        ),
        "plan": Lifecycle(
            found_by=("id", "metadata"),
            on_removed={Removal.ARCHIVE: ARCHIVE, Removal.DELETE: DELETE},
            permanent=frozenset({Removal.DELETE}),
            own_id=True,
            # An archived plan keeps its id. docs.stripe.com/api/plans/delete: existing subscribers aren't affected.
            when_immutable_changes=Replace(then=Removal.DELETE, exclusive=("id",), takes_over={"product": "product"}),
            uniques=(Unique(parameter="id"),),
            needs_one_of=(("amount", "amount_decimal", "tiers"),),
            note="Stripe supports plans for old integrations; use prices instead",
        ),
        "coupon": Lifecycle(
            found_by=("id", "metadata", "name"),
            # docs.stripe.com/api/coupons/delete: customers who have redeemed it keep their discount.
            on_removed={Removal.DELETE: DELETE},
            permanent=frozenset({Removal.DELETE}),
            own_id=True,
            when_immutable_changes=Replace(then=Removal.DELETE, exclusive=("id",)),
            uniques=(Unique(parameter="id"),),
            # docs.stripe.com/api/coupons/object: neither is included by default.
            shown_if_asked=("applies_to", "currency_options"),
            # docs.stripe.com/api/coupons/create: "A coupon has either a percent_off or an amount_off and currency."
            needs_one_of=(("percent_off", "amount_off"),),
            # docs.stripe.com/api/promotion_codes: a code always belongs to one coupon, and can't be redeemed without
            # it.
            held_by=(
                HeldBy(
                    resource="promotion_code",
                    parameter="promotion.coupon",
                    listed_by="coupon",
                    listed_with={"active": True},
                    together=True,
                ),
            ),
        ),
        "promotion_code": Lifecycle(
            found_by=("id", "code", "metadata"),
            on_removed={Removal.ARCHIVE: ARCHIVE},
            # docs.stripe.com/api/promotion_codes: a code is unique among the active ones of the same customers.
            when_immutable_changes=Replace(exclusive=("code",)),
            uniques=(Unique(parameter="code", among_active=True, ignores_case=True),),
        ),
        "tax_rate": Lifecycle(
            found_by=("id", "metadata", "display_name"),
            on_removed={Removal.ARCHIVE: ARCHIVE},
            when_immutable_changes=Replace(),
        ),
        "shipping_rate": Lifecycle(
            found_by=("id", "metadata", "display_name"),
            on_removed={Removal.ARCHIVE: ARCHIVE},
            when_immutable_changes=Replace(),
            set_once=dict.fromkeys(("tax_behavior", "fixed_amount.currency_options.*.tax_behavior"), _NO_TAX_BEHAVIOR),
        ),
        "subscription": Lifecycle(
            undone_by=Removal.CANCEL,
            found_by=("id", "metadata"),
            needs_one_of=(("customer", "customer_account"), ("items",)),
            on_removed={
                Removal.CANCEL: ByStatus(
                    steps=dict.fromkeys(_LIVE_SUBSCRIPTION, _CANCEL), otherwise="the subscription has already ended"
                ),
                Removal.CANCEL_AT_PERIOD_END: ByStatus(
                    steps={
                        **dict.fromkeys(_LIVE_SUBSCRIPTION, _CANCEL_AT_END),
                        # docs.stripe.com/billing/subscriptions/overview: an incomplete subscription has no period to
                        # wait for.
                        "incomplete": _CANCEL,
                    },
                    otherwise="the subscription has already ended",
                ),
            },
            permanent=frozenset({Removal.CANCEL}),
            when_immutable_changes=NotReplaced(reason="a new subscription would start and bill from the beginning"),
            replace_if_asked=Replace(then=Removal.CANCEL),
            request_only=_CHARGE_OPTIONS,
            # docs.stripe.com/api/subscriptions/update: they are added to the next invoice.
            added_each_time=("add_invoice_items",),
            # docs.stripe.com/billing/subscriptions/billing-cycle: the end of a trial changes it.
            moved_by_stripe=("billing_cycle_anchor",),
            ended=frozenset({"canceled", "incomplete_expired"}),
            # "The subscription is managed by the subscription schedule …, and updating any cancelation behavior
            # directly is not allowed." (dust-tt/dust#32051)
            managed_by=("subscription_schedule",),
            whole_lists=("discounts", "default_tax_rates"),
            # docs.stripe.com/api/subscriptions/update: an item without an id is added; no two items have the same
            # price.
            item_lists={
                "items": ItemList(
                    identity_field="price",
                    same_as="plan",
                    # Stripe creates a new price from it each time, so such an item has no id of ours.
                    described_by="price_data",
                    gone={"deleted": True},
                    listed_by=("subscription_item", "subscription"),
                )
            },
        ),
        "subscription_item": Lifecycle(
            found_by=("id", "metadata"),
            on_removed={Removal.DELETE: DELETE},
            # If a subscription is paid up to the end of its period, its items stay until then.
            cuts_short=(CutsShort(operation="delete", resource="subscription"),),
            # docs.stripe.com/api/subscription_items/create
            needs_one_of=(("price", "price_data", "plan"),),
            # docs.stripe.com/api/subscription_items/list requires the subscription, so they can't all be listed.
            listed=False,
            request_only=_CHARGE_OPTIONS,
            when_immutable_changes=NotReplaced(reason="an item can't move to another subscription"),
            part_of="subscription",
        ),
        "subscription_schedule": Lifecycle(
            undone_by=Removal.CANCEL,
            # docs.stripe.com/api/subscription_schedules/cancel: it would cancel the subscription, too.
            undone_from={"from_subscription": Removal.DEACTIVATE},
            found_by=("id", "metadata"),
            needs_one_of=(("customer", "customer_account", "from_subscription"), ("phases", "from_subscription")),
            # docs.stripe.com/api/subscription_schedules/cancel: only a schedule that is not started or active can be
            # canceled.
            on_removed={
                Removal.CANCEL: ByStatus(
                    steps={"not_started": _CANCEL, "active": _CANCEL}, otherwise="the schedule has already ended"
                ),
                Removal.DEACTIVATE: ByStatus(
                    steps=dict.fromkeys(("not_started", "active"), Step(operation="release", becomes="released")),
                    otherwise="the schedule has already ended",
                ),
            },
            permanent=frozenset({Removal.CANCEL}),
            cuts_short=(CutsShort(operation="cancel", resource="subscription", wholly=True),),
            when_immutable_changes=NotReplaced(reason="a new schedule would restart its phases"),
            replace_if_asked=Replace(then=Removal.CANCEL),
            request_only=("proration_behavior",),
            # docs.stripe.com/api/subscription_schedules/update: phases that are not sent again are removed.
            whole_lists=("phases",),
            entries={
                "phases": Entries(
                    starts="start_date",
                    own=_PHASE_IDENTITY,
                    inner={"items": "price"},
                )
            },
            # "The subscription schedule update is missing at least one phase with a `start_date` to anchor end dates
            # to." (stripe/stripe-dotnet#1754); `now` would move the start of a phase that has begun (tierrun/tier#297).
            anchored={"phases": "start_date"},
            note="`deactivate` releases the schedule and leaves its subscription unchanged; `cancel` cancels both",
        ),
        "invoice": Lifecycle(
            undone_by=Removal.VOID,
            found_by=("id", "metadata", "number"),
            needs_one_of=(("customer", "customer_account", "from_invoice", "subscription"),),
            # A draft is deleted, a finalized invoice is voided (docs.stripe.com/invoicing/overview#invoice-statuses).
            on_removed={
                Removal.DELETE: ByStatus(
                    steps={"draft": DELETE}, otherwise="a finalized invoice can't be deleted; `void` voids an open one"
                ),
                Removal.VOID: ByStatus(
                    steps={"draft": DELETE, "open": _VOID, "uncollectible": _VOID}, otherwise="the invoice is settled"
                ),
            },
            permanent=frozenset({Removal.DELETE, Removal.VOID}),
            when_immutable_changes=NotReplaced(reason="an invoice can't be replaced; void it and create a new one"),
            replace_if_asked=Replace(then=Removal.VOID),
            finishes={
                "finalize": Finish(name="finalize", operation="finalize_invoice", status="draft", becomes="open"),
            },
            # docs.stripe.com/api/invoices/object: Stripe turns it off once an invoice is paid, voided or uncollectible.
            moved_by_stripe=("auto_advance",),
        ),
        "invoice_item": Lifecycle(
            found_by=("id", "metadata"),
            needs_one_of=(
                ("customer", "customer_account", "invoice"),
                # docs.stripe.com/api/invoiceitems/create
                ("amount", "pricing", "price_data", "unit_amount_decimal"),
            ),
            # docs.stripe.com/api/invoiceitems/delete: not once it is attached to a finalized invoice.
            on_removed={
                Removal.DELETE: ByStatus(
                    steps={"None": DELETE, "draft": DELETE},
                    otherwise="the item is on a finalized invoice",
                    status_field="invoice.status",
                    expand=("invoice",),
                )
            },
            permanent=frozenset({Removal.DELETE}),
            when_immutable_changes=Replace(then=Removal.DELETE),
        ),
        "credit_note": Lifecycle(
            found_by=("id", "metadata", "number"),
            # SDK's description of `amount`: "One of `amount`, `lines`, or `shipping_cost` must be provided."
            needs_one_of=(("amount", "lines", "shipping_cost"),),
            on_removed={
                Removal.VOID: ByStatus(
                    steps={"issued": Step(operation="void_credit_note", becomes="void")},
                    otherwise="the credit note is already void",
                )
            },
            permanent=frozenset({Removal.VOID}),
            when_immutable_changes=NotReplaced(reason="a credit note can't be replaced; void it and create a new one"),
        ),
        "quote": Lifecycle(
            found_by=("id", "metadata", "number"),
            on_removed={
                Removal.CANCEL: ByStatus(
                    steps={"draft": _CANCEL, "open": _CANCEL}, otherwise="the quote is already accepted or canceled"
                )
            },
            permanent=frozenset({Removal.CANCEL}),
            when_immutable_changes=NotReplaced(reason="a quote can't be replaced; cancel it and create a new one"),
            replace_if_asked=Replace(then=Removal.CANCEL),
            finishes={
                "finalize": Finish(
                    name="finalize",
                    operation="finalize_quote",
                    status="draft",
                    becomes="open",
                    needs=(("customer", "customer_account"),),
                    copies=("from_quote",),
                    needs_source="SDK's description of `customer`: A customer is required before finalizing the quote.",
                ),
                "accept": Finish(name="accept", operation="accept", status="open", becomes="accepted"),
            },
            shown_if_asked=("line_items",),
            # docs.stripe.com/api/quotes/update: once specified, it cannot be changed.
            set_once=dict.fromkeys(("customer", "customer_account"), None),
        ),
        "customer.balance_transaction": Lifecycle(
            found_by=("id",),
            listed=False,
            when_immutable_changes=NotReplaced(
                reason="an entry in a ledger can't be changed; add another one to correct it"
            ),
            note="an entry changes the customer's balance; it can't be removed",
        ),
        "customer.tax_id": Lifecycle(
            found_by=("id",),
            modes=NEVER_UPDATED,
            on_removed={Removal.DELETE: DELETE},
            tagged=False,
            listed=False,
            when_immutable_changes=Replace(then=Removal.DELETE),
        ),
        "tax_id": Lifecycle(
            found_by=("id", "value"),
            modes=NEVER_UPDATED,
            on_removed={Removal.DELETE: DELETE},
            tagged=False,
            when_immutable_changes=Replace(then=Removal.DELETE),
        ),
        "product.feature": Lifecycle(
            found_by=("id",),
            modes=NEVER_UPDATED,
            on_removed={Removal.DELETE: DELETE},
            tagged=False,
            listed=False,
            # docs.stripe.com/api/product-feature: a feature can be attached to a product only once, so the old one is
            # detached first.
            when_immutable_changes=NotReplaced(reason="a feature is attached or detached, never changed"),
            part_of="product",
        ),
        "entitlements.feature": Lifecycle(
            found_by=("id", "lookup_key", "metadata", "name"),
            on_removed={Removal.ARCHIVE: ARCHIVE},
            when_immutable_changes=NotReplaced(reason="your code identifies the feature by its lookup key"),
            uniques=(Unique(parameter="lookup_key"),),
        ),
        "payment_link": Lifecycle(
            found_by=("id", "metadata"),
            on_removed={Removal.ARCHIVE: ARCHIVE},
            when_immutable_changes=NotReplaced(
                reason="a new link has a new URL, and customers may still use the old one"
            ),
            replace_if_asked=Replace(),
            shown_if_asked=("line_items",),
            # docs.stripe.com/api/payment-link/update: an item is identified by its id, and items can't be added or
            # removed.
            item_lists={
                "line_items": ItemList(identity_field="price", described_by="price_data", listed_with="list_line_items")
            },
        ),
        "billing.meter": Lifecycle(
            found_by=("id", "event_name", "display_name"),
            on_removed={
                Removal.DEACTIVATE: ByStatus(
                    steps={
                        "active": Step(operation="deactivate", gone=False, revive_by="reactivate", becomes="inactive")
                    },
                    otherwise="the meter is already inactive",
                )
            },
            tagged=False,
            when_immutable_changes=NotReplaced(reason="the way a meter counts is fixed at creation"),
            note="an inactive meter accepts no events; it is reactivated when its row returns",
            # docs.stripe.com/api/billing/meter/deactivate: the meter accepts no more events, so the remaining usage of
            # a running subscription couldn't be billed.
            used_by=(
                UsedBy(
                    operation="deactivate",
                    through=HeldBy(resource="price", parameter="recurring.meter", listed_by="recurring.meter"),
                    resource="subscription",
                    listed_by="price",
                    ends_by_itself=("cancel_at_period_end", "cancel_at", "schedule"),
                ),
            ),
        ),
        # `identifier` is unique for at least 24 hours (docs.stripe.com/api/billing/meter-event/create). Stripe's answer
        # to a second one isn't documented; it was observed as a 400 without a code (langfuse/langfuse #16292).
        "billing.meter_event": Lifecycle(
            modes=INSERT_ONLY,
            tagged=False,
            listed=False,
            when_immutable_changes=NotReplaced(reason="an event is counted once it is sent; Stripe can't change it"),
            note="`identifier` is derived from the key unless you map it, so an event that is sent twice counts once",
            key_as="identifier",
            repeated="already exists with identifier",
            counted_at="timestamp",
            # docs.stripe.com/rate-limits: one concurrent call for each customer of each meter.
            one_at_a_time=("event_name", "payload.stripe_customer_id"),
            # docs.stripe.com/api/v2/billing/meter-event-stream/create
            bulk=Bulk(
                name="stream",
                operation=STREAM,
                most=100,
                note="Stripe checks streamed events after it has accepted them; one that it drops later looks sent, "
                "and only its event `v1.billing.meter.error_report_triggered` shows it",
            ),
        ),
        "billing.meter_event_adjustment": Lifecycle(modes=INSERT_ONLY, tagged=False, listed=False),
        "billing.credit_grant": Lifecycle(
            found_by=("id", "metadata"),
            needs_one_of=(("customer", "customer_account"),),
            on_removed={Removal.VOID: Step(operation="void_grant"), Removal.DEACTIVATE: Step(operation="expire")},
            permanent=frozenset({Removal.VOID, Removal.DEACTIVATE}),
            when_immutable_changes=NotReplaced(reason="a grant has already been given; void it and create a new one"),
            note="`void` cancels an unused grant; `deactivate` expires it now",
        ),
        "billing.alert": Lifecycle(
            found_by=("id",),
            modes=NEVER_UPDATED,
            on_removed={Removal.ARCHIVE: Step(operation="archive"), Removal.DEACTIVATE: Step(operation="deactivate")},
            tagged=False,
            when_immutable_changes=Replace(),
        ),
        "billing.feedback_option": Lifecycle(
            found_by=("id",), on_removed={Removal.DEACTIVATE: Step(operation="deactivate")}, tagged=False
        ),
        "account": Lifecycle(
            found_by=("id", "email", "metadata"),
            # docs.stripe.com/api/accounts/delete: a live account can be deleted only once its balance is zero.
            on_removed={Removal.DELETE: DELETE},
            permanent=frozenset({Removal.DELETE}),
            note="these are the accounts of your platform's merchants",
            # docs.stripe.com/connect/handling-api-verification: information is collected up front or incrementally.
            # Verified information is reviewed again if it is sent
            # (docs.stripe.com/connect/update-verified-information).
            merges_hashes=True,
        ),
        "account.person": Lifecycle(
            found_by=("id",),
            on_removed={Removal.DELETE: DELETE},
            permanent=frozenset({Removal.DELETE}),
            listed=False,
            merges_hashes=True,
            part_of="account",
        ),
        "issuing.card": Lifecycle(
            found_by=("id", "metadata"),
            on_removed={
                Removal.DEACTIVATE: Step(
                    operation="update", params={"status": "inactive"}, gone=False, revive={"status": "active"}
                ),
                Removal.CANCEL: Step(operation="update", params={"status": "canceled"}),
            },
            permanent=frozenset({Removal.CANCEL}),
            when_immutable_changes=NotReplaced(reason="a card can't be changed once it is ordered"),
        ),
        "issuing.cardholder": Lifecycle(
            found_by=("id", "email", "phone_number", "metadata"),
            on_removed={
                Removal.DEACTIVATE: Step(
                    operation="update", params={"status": "inactive"}, gone=False, revive={"status": "active"}
                )
            },
        ),
        "webhook_endpoint": Lifecycle(
            found_by=("id", "url", "metadata"),
            on_removed={
                Removal.DELETE: DELETE,
                Removal.DEACTIVATE: Step(
                    operation="update", params={"disabled": True}, gone=False, revive={"disabled": False}
                ),
            },
            permanent=frozenset({Removal.DELETE}),
            when_immutable_changes=NotReplaced(reason="a new endpoint would sign with another secret"),
            replace_if_asked=Replace(then=Removal.DELETE),
            note="its signing secret isn't kept: copy it from the Dashboard",
        ),
        "tax.registration": Lifecycle(
            found_by=("id",),
            on_removed={
                Removal.DEACTIVATE: Step(operation="update", params={"expires_at": "now"}),
            },
            permanent=frozenset({Removal.DEACTIVATE}),
            tagged=False,
            when_immutable_changes=NotReplaced(reason="a registration is for one country"),
        ),
    }
)
