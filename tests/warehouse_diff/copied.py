"""The customers of these tests, and what the warehouse's copy says of itself."""

from __future__ import annotations

from typing import Any


def people(count: int, **emails: str) -> list[tuple[int, str]]:
    return [(number, emails.get(f"n{number}", f"p{number}@example.com")) for number in range(1, count + 1)]


def write(shop, rows: list[tuple[Any, ...]]) -> None:
    """Build the customers anew."""
    shop.rows("customers", *rows, columns="id int, email text")


def marks(shop) -> list[tuple[Any, ...]]:
    """The marks of the copy, empty if there is none."""
    found = shop.ask("SELECT 1 FROM information_schema.tables WHERE table_name = 'row_hash_marks'")
    return sorted(shop.ask("SELECT * FROM stripe_sync.row_hash_marks")) if found else []
