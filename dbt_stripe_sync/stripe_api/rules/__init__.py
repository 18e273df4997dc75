"""Stripe's documented rules as data: what it accepts of each parameter, and who says so.

The sandbox enforces them, and a plan foresees them, by the same `check_rules`.
"""

from dbt_stripe_sync.model.violation import Violation
from dbt_stripe_sync.stripe_api.rules.catalogue import rules_of
from dbt_stripe_sync.stripe_api.rules.checking import check_rules
from dbt_stripe_sync.stripe_api.rules.rule import Rule

__all__ = ["Rule", "Violation", "check_rules", "rules_of"]
