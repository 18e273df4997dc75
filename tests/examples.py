"""The number of examples for property-based tests."""

from __future__ import annotations

from hypothesis import settings

# Of each property in the default run, which has thousands of tests.
FEW = 30
# Where an example costs next to nothing.
FEW_CHEAP = 60


def up_to(count: int) -> int:
    """As many as a property deserves, or the few that the default run takes."""
    return min(count, FEW_CHEAP) if settings.default.max_examples == FEW else count
