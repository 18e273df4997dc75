"""What tests of the report share."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest


@dataclass
class Screenfuls:
    """Joins rendered lines and checks that none is wider than it may be."""

    width: int = 80
    seen: list[str] = field(default_factory=list)

    def __call__(self, lines) -> str:
        self.seen = list(lines)
        return "\n".join(self.seen)


@pytest.fixture
def screen():
    return Screenfuls()
