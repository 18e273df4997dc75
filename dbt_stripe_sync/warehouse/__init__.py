"""Rows as Arrow, read with the settings of the project's own dbt profile."""

from __future__ import annotations

from dbt_stripe_sync.warehouse.registry import AdapterRequest, TimeLimits, open_warehouse

__all__ = ["AdapterRequest", "TimeLimits", "open_warehouse"]
