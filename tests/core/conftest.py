"""A shop for the resource that a test names, or gets from the table."""

from __future__ import annotations

import pytest
from core_shop import Shop


@pytest.fixture
def shop_for(business):
    """Opens a shop for one of the seven."""
    return lambda core: Shop(business, core)
