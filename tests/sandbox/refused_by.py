"""Which test meets each refusal of the sandbox, for docs/stripe-rules.md."""

from __future__ import annotations

REFUSED_BY: dict[str, str] = {}
