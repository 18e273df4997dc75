"""Adds up the results of all chains of kills and prints them at the end of a test run, from all its processes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

CRASH_COUNTS = "crash counts"


def write_counts(terminalreporter) -> None:
    """Say what all chains of kills came to, where there were any."""
    reports = terminalreporter.stats.get("", ())
    counts = [
        value
        for report in reports
        if report.when == "teardown"
        for name, value in report.user_properties
        if name == CRASH_COUNTS
    ]
    if counts:
        terminalreporter.section("crash harness")
        for line in told(counts):
            terminalreporter.write_line(line)


def told(counts: Sequence[dict[str, Any]]) -> list[str]:
    """What all chains came to, in words."""
    total = {name: sum(count[name] for count in counts) for name in counts[0] if name != "by_point"}
    by_point: Counter[str] = Counter()
    for count in counts:
        by_point.update(count["by_point"])
    lines = [
        f"{total['kills']:,} kills in {total['runs']:,} runs of {len(counts)} chains",
        f"{total['objects']:,} objects, {total['calls']:,} calls, {total['records']:,} rows in state",
        (
            f"{total['duplicates']} duplicates, {total['lost']} lost rows, "
            f"{total['unknown_to_stripe']} rows in state that Stripe lacks"
        ),
    ]
    return lines + [f"{kills:6,}  {point}" for point, kills in by_point.most_common()]
