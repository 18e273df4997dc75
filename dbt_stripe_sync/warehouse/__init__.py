"""Reads rows from warehouses as Arrow, with the connection settings of the project's dbt profile."""

from __future__ import annotations

from dbt_stripe_sync.warehouse.registry import open_warehouse
from dbt_stripe_sync.warehouse.requests import AdapterRequest, TimeLimits

__all__ = ["AdapterRequest", "TimeLimits", "open_warehouse"]
