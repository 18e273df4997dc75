"""Identifiers that look like Stripe's."""

from __future__ import annotations

import random
import string

_ALPHABET = string.ascii_letters + string.digits
_SYSTEM = random.Random()  # noqa: S311 - ids of a local sandbox protect nothing

ID_LENGTH = 24
REQUEST_ID_LENGTH = 14


def new_id(prefix: str, length: int = ID_LENGTH) -> str:
    """Return `prefix_` followed by `length` random letters and digits."""
    return f"{prefix}_{''.join(_SYSTEM.choices(_ALPHABET, k=length))}"


def new_request_id() -> str:
    """Return a new `Request-Id`."""
    return new_id("req", REQUEST_ID_LENGTH)


def new_code(length: int = 8) -> str:
    """Return a code like those that Stripe generates for coupons, promotion codes and invoice prefixes."""
    return "".join(_SYSTEM.choices(string.ascii_uppercase + string.digits, k=length))
