"""Which keys are accepted, and where they may be sent."""

from __future__ import annotations

import pytest

from dbt_stripe_sync.model.errors import ConfigError
from dbt_stripe_sync.stripe_api.keys import OFFICIAL, check_address, check_key, check_live, is_live

PROJECT = "dbt_project.yml"
SECRET = "sk_live_51Abcdefghijk"


@pytest.mark.parametrize(
    ("key", "live"),
    [(SECRET, True), ("rk_live_51Abcdef", True), ("sk_test_51Abcdef", False), ("rk_test_12345678", False)],
)
def test_secret_and_restricted_keys_of_both_modes_are_accepted(key, live):
    assert check_key(key, "STRIPE_API_KEY") == key
    assert is_live(key) is live


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "pk_live_51Abcdefghijk",
        "whsec_51Abcdefghijk",
        "sk_live_short",
        f"{SECRET} {SECRET}",
        f"{SECRET}\n{SECRET}",
    ],
)
def test_anything_else_is_rejected_without_being_shown(key):
    with pytest.raises(ConfigError) as caught:
        check_key(key, "STRIPE_API_KEY")
    problem = caught.value.problems[0]
    assert problem.code in {"no-stripe-key", "bad-stripe-key"}
    assert "STRIPE_API_KEY" in problem.summary
    assert not key or key not in f"{problem.summary} {problem.hint}"


def test_line_breaks_around_a_mounted_key_are_stripped():
    assert check_key(f" {SECRET}\n", "STRIPE_API_KEY") == SECRET


def test_a_live_key_works_only_for_listed_targets():
    check_live(target="prod", live_targets=("prod",), settings_file=PROJECT)
    with pytest.raises(ConfigError, match="live-key"):
        check_live(target="dev", live_targets=("prod",), settings_file=PROJECT)


@pytest.mark.parametrize(
    ("live_targets", "hint"),
    [((), "add `live_targets: [dev]`"), (("prod", "eu"), "name one of the live targets with `--target` (prod, eu)")],
)
def test_a_live_key_on_another_target_is_reported_with_the_targets_that_allow_it(live_targets, hint):
    with pytest.raises(ConfigError) as refused:
        check_live(target="dev", live_targets=live_targets, settings_file=PROJECT)

    assert hint in (refused.value.problems[0].hint or "")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.stripe.com",
        "https://api.stripe.com/",
        "http://localhost:12111",
        "http://127.0.0.1:12111",
        "http://[::1]:12111",
        "https://stripe.example.com",
    ],
)
def test_stripe_localhost_and_named_addresses_are_allowed(url):
    assert check_address(url, ("https://stripe.example.com/",), settings_file=PROJECT) == url.rstrip("/")


def test_the_default_address_is_stripes():
    assert check_address(None, (), settings_file=PROJECT) == OFFICIAL == "https://api.stripe.com"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.stripe.com.evil.example",
        "https://evilstripe.com",
        "http://api.stripe.com",
        "https://api.stripe.com@evil.example",
        "https://user:api.stripe.com@evil.example/",
        "http://192.168.1.5:12111",
        "http://localhost.evil.example",
        "//api.stripe.com",
        "api.stripe.com",
        "ftp://localhost",
        "",
    ],
)
def test_a_key_is_never_sent_to_an_unknown_host(url):
    with pytest.raises(ConfigError, match="foreign-address"):
        check_address(url, (), settings_file=PROJECT)
