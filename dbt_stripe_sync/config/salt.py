"""The user's own salt for the hashes of values that the state does not store."""

from __future__ import annotations

from hashlib import sha256

from dbt_stripe_sync.model.errors import ConfigError, Location, Problem

SALT_VARIABLE = "DBT_STRIPE_SYNC_SALT"
FEWEST_CHARACTERS = 16


def read_salt(text: str | None) -> bytes | None:
    """The 32 bytes of the salt in the environment, or None.

    Raises `ConfigError` if it is too short and could be guessed.
    """
    if not text:
        return None
    if len(text) < FEWEST_CHARACTERS:
        raise ConfigError(
            Problem(
                code="short-salt",
                summary=f"the salt in `{SALT_VARIABLE}` has fewer than {FEWEST_CHARACTERS} characters",
                where=Location(field=SALT_VARIABLE),
                hint="create one with `openssl rand -hex 32`, and store it like the Stripe key",
            )
        )
    return sha256(text.encode(errors="surrogateescape")).digest()
