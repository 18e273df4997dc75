"""The forms of tax ids, by type, where they are fixed enough to tell a wrong one before Stripe does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.stripe_api.rules.rule import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dbt_stripe_sync.stripe_api.rules.rule import Spot

# docs.stripe.com/billing/customer/tax-ids#supported-tax-id has an example of each type. Of a VAT number of the EU the
# part after the country's code is as the EU's own register (ec.europa.eu/taxation_customs/vies) describes it.
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
    "HU": r"\d{8}",
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
# A guess: `unchecked-forms`.
FORMS = {
    "eu_vat": "|".join(f"{country}{form}" for country, form in _EU_VAT.items()),
    "gb_vat": r"(GB)?(\d{9}|\d{12}|(GD|HA)\d{3})",
    "au_abn": r"\d{11}",
    "br_cnpj": r"[A-Z0-9]{12}\d{2}",
    "br_cpf": r"\d{11}",
    "ca_bn": r"\d{9}",
    "ca_gst_hst": r"\d{9}RT\d{4}",
    "ch_vat": r"CHE\d{9}(MWST|TVA|IVA)",
    "in_gst": r"\d{2}[A-Z0-9]{13}",
    "no_vat": r"\d{9}(MVA)?",
    "nz_gst": r"\d{8,9}",
    "us_ein": r"\d{9}",
    "za_vat": r"4\d{9}",
}


@dataclass(frozen=True, slots=True)
class TaxId:
    """The value of a tax id has the form of its type."""

    @property
    def says(self) -> str:
        """The rule in words."""
        return f"has the form of its `type`, for {', '.join(f'`{name}`' for name in FORMS)}"

    def find(self, value: Any, spot: Spot) -> Iterator[Fault]:
        """Nothing where it has, or where the form of the type isn't known."""
        type_ = str(spot.hash.get("type"))
        form = FORMS.get(type_)
        if form is None or not isinstance(value, str) or not value:
            return
        # Blanks, dots and dashes are how people group the digits.
        if not re.fullmatch(form, re.sub(r"[\s./-]", "", value).upper()):
            yield Fault(
                reason=f"is not a `{type_}` number",
                message=f"Invalid value for {type_}.",
                code="tax_id_invalid",
                hint="docs.stripe.com/billing/customer/tax-ids shows an example of each type",
            )
