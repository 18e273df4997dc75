"""A parameter that breaks one of Stripe's rules."""

from __future__ import annotations

from msgspec import Struct


class Violation(Struct, frozen=True, kw_only=True):
    """One rule that the parameters of a call break.

    `path` has a step for each name and each index. `reason` is read after the parameter's name, and contains no row
    value. `source` cites Stripe's rule, None if it is a guess. `code` and `message` are those of Stripe's answer.
    """

    path: tuple[str, ...]
    reason: str
    message: str
    source: str | None
    code: str | None = None
    hint: str | None = None
