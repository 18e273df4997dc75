"""Redaction removes keys from output, but never a word of the program's own sentences."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dbt_stripe_sync
from dbt_stripe_sync.model.errors import ConfigError
from dbt_stripe_sync.report.redact import hide_keys, hide_values
from dbt_stripe_sync.stripe_api.keys import check_key

PACKAGE = Path(dbt_stripe_sync.__file__).parent
# The local Stripe prints its own key, and mentions starred ones, as Stripe does.
WITH_KEYS = "sandbox"


def texts(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("folder", sorted(p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != WITH_KEYS))
def test_no_word_of_the_program_is_mistaken_for_a_key(folder):
    for file in (PACKAGE / folder).rglob("*.py"):
        for text in texts(file):
            assert hide_keys(text) == text, file


def test_the_prefixes_of_keys_are_named_in_the_hint():
    with pytest.raises(ConfigError) as raised:
        check_key("sk_test_short", "STRIPE_API_KEY")

    (problem,) = raised.value.problems
    assert hide_keys(problem.hint) == problem.hint
    assert "sk_test_, rk_test_, sk_live_, rk_live_ or sk_org_" in problem.hint


@pytest.mark.parametrize(
    "key",
    [
        "sk_test_1",
        "sk_test_abcdefghijklmnop",
        "rk_live_abcdefghijklmnop",
        "sk_test_****4242",
        "sk_live__abc",
        "sk_org_test_abcdefgh1",
        "pk_live_abcdefgh",
        "whsec_abcdefghijklmnopqrst",
    ],
)
@pytest.mark.parametrize("around", ["the key {} was used", "({})", "'{}'.", "KEY={},", "{}: wrong"])
def test_a_key_is_hidden_wherever_it_is(key, around):
    hidden = hide_keys(around.format(key))

    assert key not in hidden
    assert key.rpartition("_")[2] not in hidden


@pytest.mark.parametrize("word", ["sk_test_", "rk_live_", "sk_org_", "sk_test_…", "pk_customers", "dim_secret_santa"])
@pytest.mark.parametrize("around", ["begins with {}, or", "{}", "`{}`", "({})", "{}.", "it is {} or {}"])
def test_a_prefix_or_a_name_is_not_a_key(word, around):
    text = around.format(word, word)

    assert hide_keys(text) == text


def test_a_value_is_hidden_in_stripes_message_and_not_within_other_words():
    said = hide_values("No such plan: 'gold'; golden plans end", {"nickname": "gold", "currency": "usd"})

    assert said == "No such plan: '…'; golden plans end"
