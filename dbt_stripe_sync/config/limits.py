"""Parses the `limits` of a sync: how many rows may change, be removed or be rejected, and how often Stripe is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.sync import Limits, Threshold

if TYPE_CHECKING:
    from dbt_stripe_sync.config.problems import Problems
    from dbt_stripe_sync.model.errors import Location

THRESHOLDS = ("max_changes", "max_removed", "max_rejected")
MAX_READS = "max_reads"
LIMITS = (*THRESHOLDS, MAX_READS)
WHOLE = 100.0  # percent
_COUNT = re.compile(r"\d[\d_]*")


def parse_limits(raw: Any, where: Location, problems: Problems) -> Limits:
    """Parse the `limits` of a sync; `where` is their location."""
    if not isinstance(raw, dict):
        problems.add("not-a-mapping", where, "`limits` is not a YAML mapping", f"it takes {listed(LIMITS)}")
        return Limits()
    for name in raw.keys() - set(LIMITS):
        problems.add(
            "unknown-key",
            where.at_field(str(name)),
            f"unknown limit `{name}`",
            f"{did_you_mean(str(name), LIMITS)}choose from {listed(LIMITS)}",
        )
    return Limits(
        max_reads=_parse_reads(raw[MAX_READS], where.at_field(MAX_READS), problems) if MAX_READS in raw else None,
        **{name: _parse_threshold(raw[name], where.at_field(name), problems) for name in THRESHOLDS if name in raw},
    )


def _parse_threshold(raw: Any, where: Location, problems: Problems) -> Threshold | None:
    """`500` or `10%`."""
    text = str(raw).strip()
    try:
        if text.endswith("%"):
            percent = float(text[:-1])
            if 0 <= percent <= WHOLE:
                return Threshold(percent=percent)
        elif not isinstance(raw, bool) and (count := int(text.replace("_", ""))) >= 0:
            return Threshold(count=count)
    except ValueError:
        pass
    problems.add("bad-limit", where, "the limit is neither a number of rows nor a percentage", "write `500` or `10%`")
    return None


def _parse_reads(raw: Any, where: Location, problems: Problems) -> int | None:
    """A number of requests. It can't be a percentage, since the total isn't known before Stripe is read."""
    if not isinstance(raw, bool) and _COUNT.fullmatch(text := str(raw).strip()):
        return int(text.replace("_", ""))
    problems.add("bad-limit", where, f"`{MAX_READS}` is not a number of requests", "write `500`")
    return None
