"""Signs the plans that are made from a state, with a key that only the state has."""

from __future__ import annotations

import hmac
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt_stripe_sync.state.session import Session

KEY = "plan_key"
KEY_BYTES = 32


def sign(session: Session, digest: str) -> str:
    """The signature of a plan's digest. The first plan of a state creates its key."""
    key = _read_key(session)
    if key is None:
        key = token_hex(KEY_BYTES)
        with session.transaction():
            session.execute("INSERT INTO meta VALUES ($name, $key)", {"name": KEY, "key": key})
    return _signature(key, digest)


def has_signed(session: Session, digest: str, signature: str) -> bool:
    """Whether this state has signed a plan with that digest."""
    key = _read_key(session)
    return key is not None and hmac.compare_digest(_signature(key, digest).encode(), signature.encode())


def _read_key(session: Session) -> str | None:
    value = session.value("SELECT value FROM meta WHERE key = $name", name=KEY)
    return str(value) if value is not None else None


def _signature(key: str, digest: str) -> str:
    return hmac.digest(key.encode(), digest.encode(), "sha256").hex()
