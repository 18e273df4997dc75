"""Formats counts and nouns for messages."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with its noun: `1 change`, `12,401 changes`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def with_article(noun: str) -> str:
    """`a customer`, `an invoice`.

    Every Stripe resource that begins with a vowel letter is also pronounced with a vowel.
    """
    return f"{'an' if noun[:1] in 'aeio' else 'a'} {noun}"
