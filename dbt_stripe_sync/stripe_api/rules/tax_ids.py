"""The formats of tax ids by type, if they are strict enough to detect an invalid id before Stripe does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.stripe_api.rules.rule import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.stripe_api.rules.rule import Spot

# docs.stripe.com/billing/customer/tax-ids#supported-tax-id has an example of each type. The part of an EU VAT number
# after the country code follows the EU's own register (ec.europa.eu/taxation_customs/vies).
_EU_VAT = {
    "AT": r"U\d{8}",
    "BE": r"[01]\d{9}",
    "BG": r"\d{9,10}",
    "CY": r"\d{8}[A-Z]",
    "CZ": r"\d{8,10}",
    "DE": r"\d{9}",
    "DK": r"\d{8}",
    "EE": r"\d{9}",
    "EL": r"\d{9}",
    "ES": r"[A-Z0-9]\d{7}[A-Z0-9]",
    "FI": r"\d{8}",
    "FR": r"[A-Z0-9]{2}\d{9}",
    "HR": r"\d{11}",
    # Stripe's page used to have an example with eleven digits.
    "HU": r"\d{8}(\d{3})?",
    "IE": r"\d[A-Z0-9+*]\d{5}[A-Z]{1,2}",
    "IT": r"\d{11}",
    "LT": r"(\d{9}|\d{12})",
    "LU": r"\d{8}",
    "LV": r"\d{11}",
    "MT": r"\d{8}",
    "NL": r"[A-Z0-9+*]{12}",
    "PL": r"\d{10}",
    "PT": r"\d{9}",
    "RO": r"\d{2,10}",
    "SE": r"\d{12}",
    "SI": r"\d{8}",
    "SK": r"\d{10}",
    "XI": r"(\d{9}|\d{12}|(GD|HA)\d{3})",
}
VAT_FORMS = {
    "eu_vat": "|".join(f"{country}{form}" for country, form in _EU_VAT.items()),
    # As for XI, from the same register.
    "gb_vat": r"(GB)?(\d{9}|\d{12}|(GD|HA)\d{3})",
}
# Stripe's page has one example of each: it shows what Stripe accepts, but not what it rejects.
# A guess: `tax-id-forms`.
GUESSED_FORMS = {
    "ae_trn": r"\d{15}",
    "ar_cuit": r"\d{11}",
    "au_abn": r"\d{11}",
    "au_arn": r"\d{12}",
    "br_cnpj": r"[A-Z0-9]{12}\d{2}",
    "br_cpf": r"\d{11}",
    "ca_bn": r"\d{9}",
    "ca_gst_hst": r"\d{9}RT\d{4}",
    "ca_qst": r"\d{10}TQ\d{4}",
    "ch_uid": r"CHE\d{9}(HR)?",
    "ch_vat": r"CHE\d{9}(MWST|TVA|IVA)",
    "cl_tin": r"\d{7,8}[0-9K]",
    "ec_ruc": r"\d{13}",
    "es_cif": r"[A-Z0-9]\d{7}[A-Z0-9]",
    "eu_oss_vat": r"EU\d{9}",
    "hk_br": r"\d{8}",
    "hr_oib": r"\d{11}",
    "il_vat": r"\d{9}",
    "in_gst": r"\d{2}[A-Z0-9]{13}",
    "jp_cn": r"\d{13}",
    "jp_trn": r"T\d{13}",
    "kr_brn": r"\d{10}",
    "li_uid": r"CHE\d{9}",
    "mx_rfc": r"[A-ZÑ&]{3,4}\d{6}[A-Z0-9]{3}",
    "no_vat": r"\d{9}(MVA)?",
    "nz_gst": r"\d{8,9}",
    "pe_ruc": r"\d{11}",
    "rs_pib": r"\d{9}",
    "ru_inn": r"\d{10}|\d{12}",
    "ru_kpp": r"\d{9}",
    "sa_vat": r"\d{15}",
    "sg_gst": r"[A-Z0-9]{9,10}",
    "sg_uen": r"[A-Z0-9]{9,10}",
    "sv_nit": r"\d{14}",
    "th_vat": r"\d{13}",
    "tr_tin": r"\d{10}",
    "tw_vat": r"\d{8}",
    "us_ein": r"\d{9}",
    "uy_ruc": r"\d{12}",
    "vn_tin": r"\d{10}|\d{13}",
    "za_vat": r"4\d{9}",
}


@dataclass(frozen=True, slots=True)
class TaxId:
    """A tax id's value has the format of its type. `forms` maps types to patterns."""

    forms: Mapping[str, str] = field(hash=False)

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"has the format of its `type`, for {', '.join(f'`{name}`' for name in self.forms)}"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Yield a fault if it doesn't, unless the type's format is unknown."""
        type_ = str(spot.hash.get("type"))
        form = self.forms.get(type_)
        if form is None or not isinstance(value, str) or not value:
            return
        # People group the digits with spaces, dots and dashes.
        if not re.fullmatch(form, re.sub(r"[\s./-]", "", value).upper()):
            yield Fault(
                reason=f"is not a `{type_}` number",
                message=f"Invalid value for {type_}.",
                code="tax_id_invalid",
                hint="docs.stripe.com/billing/customer/tax-ids shows an example of each type",
            )
