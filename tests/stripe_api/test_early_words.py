"""Words that Stripe accepts only in updates, as the SDK's types say."""

from __future__ import annotations

from dbt_stripe_sync.model.params import Param, early_words
from dbt_stripe_sync.stripe_api.catalog import read_catalog


def words(param: Param, path: str) -> dict[str, tuple[str, ...]]:
    found = {path: param.update_words} if param.update_words else {}
    for name, part in param.inner.items():
        found |= words(part, f"{path}.{name}")
    return found


def test_the_catalog_knows_values_that_only_an_update_accepts():
    found: dict[str, tuple[str, ...]] = {}
    for resource in read_catalog().resources.values():
        for param in resource.params.values():
            found |= words(param, f"{resource.name}: {param.name}")

    assert found == {
        "customer: tax.validate_location": ("auto",),
        "file_link: expires_at": ("now",),
        "issuing.card: status": ("canceled",),
        "subscription_schedule: phases.end_date": ("now",),
        "subscription_schedule: phases.trial_end": ("now",),
        "tax.registration: expires_at": ("now",),
    }


def test_update_only_keywords_are_found_at_any_depth():
    phases = read_catalog().resources["subscription_schedule"].params["phases"]
    value = [{"end_date": 1_800_000_000}, {"end_date": "now", "trial_end": "now"}]

    assert list(early_words(value, phases)) == [("1", "end_date"), ("1", "trial_end")]
