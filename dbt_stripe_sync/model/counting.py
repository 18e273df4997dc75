"""Figures and nouns as people read them."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """A figure with its noun: `1 change`, `12,401 changes`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def with_article(noun: str) -> str:
    """`a customer`, `an invoice`. No resource of Stripe's begins with a vowel that is not spoken as one."""
    return f"{'an' if noun[:1] in 'aeio' else 'a'} {noun}"
