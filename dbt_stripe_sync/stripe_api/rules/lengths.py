"""The lengths that only Stripe's OpenAPI specification has (`maxLength`). The SDK's descriptions have the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# The specification's limit for nearly all other texts.
DEFAULT = 5000

_ADDRESS = {"city": 100, "line1": 200, "line2": 200}
_INVOICE_SETTINGS = {"invoice_settings.description": 1500}
_DEFAULT_ADDRESSES = (
    "business_profile.support_address",
    "company.address",
    "company.administrative_address",
    "company.principal_place_of_business",
    "individual.address",
    "individual.registered_address",
)
# Ids of uploaded files.
_FILE = 500
_PROOFS = (
    "bank_account_ownership_verification",
    "company_license",
    "company_memorandum_of_association",
    "company_ministerial_decree",
    "company_registration_verification",
    "company_tax_id_verification",
    "proof_of_address",
    "proof_of_registration",
    "proof_of_ultimate_beneficial_ownership",
)
_SIDES = ("back", "front")
_EVIDENCE = {
    "canceled": ("cancellation_reason", "explanation", "product_description"),
    "duplicate": ("explanation",),
    "fraudulent": ("explanation",),
    "merchandise_not_as_described": ("explanation", "return_description"),
    "no_valid_authorization": ("explanation",),
    "not_received": ("explanation", "product_description"),
    "other": ("explanation", "product_description"),
    "service_not_as_described": ("cancellation_reason", "explanation"),
}
_UPI = "payment_settings.payment_method_options.upi.mandate_options.description"

LENGTHS: Mapping[str, Mapping[str, int]] = {
    "account": {
        **{f"{address}.{part}": most for address in _DEFAULT_ADDRESSES for part, most in _ADDRESS.items()},
        **{f"documents.{proof}.files[]": _FILE for proof in _PROOFS},
        **{f"company.verification.document.{side}": _FILE for side in _SIDES},
        **{
            f"individual.verification.{paper}.{side}": _FILE
            for paper in ("additional_document", "document")
            for side in _SIDES
        },
        "business_profile.mcc": 4,
        "business_profile.product_description": 40_000,
        "company.name": 100,
        "company.name_kana": 100,
        "company.name_kanji": 100,
        "individual.first_name": 100,
        "individual.last_name": 100,
        "individual.full_name_aliases[]": 300,
        "settings.card_payments.statement_descriptor_prefix": 10,
        "settings.card_payments.statement_descriptor_prefix_kana": 10,
        "settings.card_payments.statement_descriptor_prefix_kanji": 10,
        "settings.payments.statement_descriptor": 22,
        "settings.payments.statement_descriptor_kana": 22,
        "settings.payments.statement_descriptor_kanji": 22,
        "settings.payouts.statement_descriptor": 22,
    },
    "account.person": {
        **{f"{where}.{part}": most for where in ("address", "registered_address") for part, most in _ADDRESS.items()},
        **{f"documents.{paper}.files[]": _FILE for paper in ("company_authorization", "passport", "visa")},
        **{f"verification.{paper}.{side}": _FILE for paper in ("additional_document", "document") for side in _SIDES},
    },
    "billing.alert": {"title": 256},
    "billing.credit_grant": {"name": 100},
    "billing.meter": {
        "customer_mapping.event_payload_key": 100,
        "display_name": 250,
        "event_name": 100,
        "value_settings.event_payload_key": 100,
    },
    "billing.meter_event": {"event_name": 100, "identifier": 100},
    "billing.meter_event_adjustment": {"cancel.identifier": 100, "event_name": 100},
    "billing_portal.configuration": {"business_profile.headline": 60, "name": 256},
    "coupon": {"name": 40},
    "customer": {"name": 256, "phone": 20, "default_source": 500},
    "customer.balance_transaction": {"description": 350},
    "entitlements.feature": {"name": 80},
    "invoice": {
        "description": 1500,
        "number": 26,
        "statement_descriptor": 22,
        "shipping_cost.shipping_rate_data.display_name": 100,
        _UPI: 20,
    },
    "issuing.dispute": {f"evidence.{reason}.{part}": 2500 for reason, parts in _EVIDENCE.items() for part in parts},
    "issuing.card": {"shipping.business_name": 50},
    "issuing.personalization_design": {
        "carrier_text.footer_body": 200,
        "carrier_text.footer_title": 30,
        "carrier_text.header_body": 200,
        "carrier_text.header_title": 30,
        "name": 200,
    },
    "payment_link": {
        "after_completion.hosted_confirmation.custom_message": 500,
        "custom_fields[].dropdown.default_value": 100,
        "custom_fields[].numeric.default_value": 255,
        "custom_fields[].text.default_value": 255,
        "inactive_message": 500,
        "invoice_creation.invoice_data.description": 1500,
        "line_items[].price_data.product_data.description": 40_000,
        "line_items[].price_data.product_data.unit_label": 12,
        "payment_intent_data.description": 1000,
        "payment_intent_data.statement_descriptor": 22,
        "payment_intent_data.statement_descriptor_suffix": 22,
        "subscription_data.description": 500,
    },
    "payment_method_configuration": {"name": 100, "parent": 100},
    "plan": {"product.unit_label": 12},
    "price": {"product_data.unit_label": 12},
    "product": {"description": 40_000, "unit_label": 12},
    "promotion_code": {"code": 500},
    "quote": {
        "description": 500,
        "footer": 500,
        "header": 50,
        "invoice_settings.description": 500,
        "subscription_data.description": 500,
    },
    "radar.value_list": {"alias": 100, "name": 100},
    "radar.value_list_item": {"value": 800},
    "shipping_rate": {"display_name": 100},
    "subscription": {
        "description": 500,
        **_INVOICE_SETTINGS,
        "payment_settings.payment_method_options.card.mandate_options.description": 200,
        _UPI: 20,
    },
    "subscription_schedule": {
        "default_settings.description": 500,
        "default_settings.invoice_settings.description": 1500,
        "phases[].description": 500,
        "phases[].invoice_settings.description": 1500,
    },
    "tax_rate": {"display_name": 50, "jurisdiction": 50},
    "terminal.configuration": {"name": 100, "wifi.personal_psk.password": 63},
    "terminal.location": dict.fromkeys(
        ("configuration_overrides", "display_name", "display_name_kana", "display_name_kanji"), 1000
    ),
}
