"""The families of objects with rules of their own, in one table. A new one is a new module and a row here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_stripe_sync.sandbox.objects import account, catalogue, coupons, customers, prices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.sandbox.family import Family

_MODULES = (account, catalogue, coupons, customers, prices)

FAMILIES: Mapping[str, Family] = {family.kind: family for module in _MODULES for family in module.FAMILIES}
