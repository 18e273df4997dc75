"""Where the environments of dbt's adapters are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def environment_of():
    """The programs of an adapter's own environment."""
    named = os.environ.get("DBT_STRIPE_SYNC_TEST_ADAPTERS")
    if not named:
        pytest.skip("DBT_STRIPE_SYNC_TEST_ADAPTERS names no folder; `.ci/adapters DIR` fills one")
    return lambda kind: Path(named) / kind / "bin"
