"""The user's own salt, from the environment."""

from __future__ import annotations

import pytest
from yaml_project import text_of

from dbt_stripe_sync.config.salt import read_salt
from dbt_stripe_sync.model.errors import ConfigError


def test_no_salt_is_used_unless_configured():
    assert read_salt(None) is None
    assert read_salt("") is None


def test_each_salt_becomes_its_own_32_bytes():
    salts = {read_salt(text) for text in ("0123456789abcdef", "0123456789abcdeg", "é" * 500)}

    assert len(salts) == 3
    assert {len(salt) for salt in salts} == {32}


def test_a_short_salt_is_rejected_and_not_shown():
    with pytest.raises(ConfigError) as refused:
        read_salt("pepper")

    text = (
        "error[short-salt]: the salt in `DBT_STRIPE_SYNC_SALT` has fewer than 16 characters\n"
        "  at DBT_STRIPE_SYNC_SALT\n\n"
        "hint: create one with `openssl rand -hex 32`, and store it like the Stripe key"
    )
    assert [text_of(problem) for problem in refused.value.problems] == [text]
