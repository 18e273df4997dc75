"""The test for each error of the sandbox, for docs/stripe-rules.md; `test_refusals.py` has its own table."""

from __future__ import annotations

from test_refusals import REFUSALS

_ELSEWHERE: dict[str, dict[str, tuple[str, ...]]] = {
    "test_sandbox_billing.py": {
        "test_a_canceled_subscription_has_ended": ("limits.check_frozen", "subscriptions._cancel"),
        "test_a_credit_grant_can_be_voided_once": ("metering._void_grant",),
        "test_a_credit_note_reduces_the_amount_due_of_an_open_invoice": ("credit_notes._build",),
        "test_a_declined_card_is_an_error_only_if_requested": ("cycles.collect_first",),
        "test_a_feature_is_attached_to_a_product_once": ("catalog._attach_feature",),
        "test_a_quote_is_drafted_opened_and_accepted_into_a_subscription": ("quotes._check",),
        "test_a_resource_without_rules_of_its_own_can_be_created_changed_and_listed": ("work.get",),
        "test_a_schedule_starts_its_subscription_and_moves_it_through_its_phases": ("schedules._check_live",),
        "test_an_event_name_belongs_to_one_active_meter": ("metering._create_meter", "metering._reactivate"),
        "test_archived_and_one_time_prices_cannot_be_subscribed_to": ("subscription_items.price_for",),
        "test_each_status_allows_its_own_actions": (
            "invoice_payment.finalize",
            "invoices._delete",
            "invoices._mark_uncollectible",
            "invoices._pay",
            "invoices._void",
        ),
        "test_items_are_matched_by_id_and_an_item_without_one_is_added": ("subscription_items.check_items",),
        "test_meter_events_are_unique_for_a_day_and_at_most_35_days_old": (
            "metering._check_payload",
            "metering.count_event",
        ),
        "test_pending_items_are_included_on_request_and_frozen_once_finalized": ("invoice_items._check_editable",),
    },
    "test_sandbox_customers_and_prices.py": {
        "test_the_terms_of_a_coupon_are_immutable": ("checking._fields", "family.own_id"),
        "test_a_deleted_customer_stays_visible_as_deleted_and_leaves_the_lists": ("work._own",),
        "test_a_lookup_key_belongs_to_one_price_and_can_be_transferred": ("prices._take_lookup_key",),
        "test_a_plan_creates_its_product": ("plans._product",),
        "test_an_invalid_price_is_rejected": (
            "prices._product_of",
            "strictness.enforce_rules",
        ),
        "test_a_product_with_prices_is_archived_not_deleted": ("catalog._delete_product",),
        "test_active_promotion_codes_have_unique_codes": (
            "coupons._create_promotion_code",
            "coupons._update_promotion_code",
        ),
    },
    "test_sandbox_every_resource.py": {
        "test_no_operation_fails_with_an_internal_error": (
            "account._retrieve",
            "catalog._create_feature",
            "invoice_items._create",
            "metering._adjust",
            "offers._build",
            "previews._customer",
        ),
    },
    "test_sandbox_faults.py": {
        "test_live_meter_events_have_a_budget_of_their_own": ("rates.enter",),
    },
    "test_sandbox_requests.py": {
        "test_a_failed_parameter_check_does_not_use_up_the_key": ("checking._integer",),
        "test_a_key_with_other_parameters_is_an_idempotency_error": ("idempotency.begin",),
        "test_a_page_has_1_to_100_objects": ("listing.read_limit",),
        "test_a_query_that_stripe_would_not_understand_is_rejected": ("search._clause", "search.parse_query"),
        "test_a_read_only_key_may_not_write": ("service.authenticate",),
        "test_a_wrong_parameter_is_rejected_in_stripes_words": (
            "checking._enum_parser",
            "checking._hash_parser",
            "checking._list_parser",
        ),
        "test_an_unknown_object_and_an_unknown_url_are_404": ("routes.find",),
    },
    "test_sandbox_stream.py": {
        "test_a_body_that_is_not_json_is_refused": ("v2.parse_body",),
        "test_a_session_lasts_a_quarter_of_an_hour_by_the_sandboxs_clock": ("service._place_of_session",),
        "test_an_invalid_event_rejects_the_whole_request": (
            "checking._string",
            "streaming._take_events",
            "streaming._with_moment",
            "v2.parse_time",
        ),
    },
    "test_stateful_rules.py": {
        "test_a_billing_anchor_must_be_within_the_first_period": ("subscription_changes._check_anchor",),
        "test_a_customer_has_subscriptions_and_pending_items_in_one_currency": ("limits.check_currency",),
        "test_a_customer_has_up_to_500_subscriptions": ("limits.check_subscription_count",),
        "test_a_live_webhook_needs_an_https_url": ("webhooks._check_url",),
        "test_a_default_payment_method_must_belong_to_the_customer": ("limits.check_payment_method",),
        "test_a_promotion_code_must_not_outlast_its_coupon": ("coupons._check_within",),
        "test_a_quote_keeps_its_customer": ("quotes._update",),
        "test_a_tax_behavior_is_final_once_it_is_set": ("limits.check_set_once",),
        "test_an_archived_tax_rate_stays_in_use_but_cannot_be_added": ("rates.read_rates",),
        "test_a_sandbox_can_require_payment_methods_as_stripe_does": ("limits.check_chargeable",),
        "test_an_invoice_holds_up_to_250_items_and_leaves_the_rest_pending": ("limits.check_invoice_room",),
        "test_updating_a_schedules_phases_needs_an_anchor": ("schedules._check_anchor",),
        "test_a_list_of_products_by_id_cannot_be_paged": ("listing.list_objects",),
    },
}
REFUSED_BY = {
    **{
        ground: f"{file}::{test}"
        for file, tests in _ELSEWHERE.items()
        for test, found in tests.items()
        for ground in found
    },
    **dict.fromkeys(REFUSALS, "test_refusals.py::test_the_sandbox_rejects_what_stripe_rejects"),
}
