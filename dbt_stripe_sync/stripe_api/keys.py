"""API keys and addresses: what a key may be used for, and where it may be sent."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from dbt_stripe_sync.model.errors import ConfigError, Problem

# docs.stripe.com/keys: secret and restricted keys, for live mode and for sandboxes.
_KEY = re.compile(r"(?:sk|rk)_(?P<mode>live|test)_\w{8,}")
OFFICIAL = "https://api.stripe.com"


def is_live(key: str) -> bool:
    """Whether a key moves real money."""
    found = _KEY.fullmatch(key)
    return found is not None and found["mode"] == "live"


def check_key(key: str | None, variable: str) -> str:
    """The key of an environment variable. Raises `ConfigError`; the key itself is in no message."""
    key = (key or "").strip()  # a secret that is mounted from a file often ends in a line break
    if not key:
        raise ConfigError(
            Problem(
                code="no-stripe-key",
                summary=f"the environment variable {variable} holds no Stripe key",
                hint=f"export {variable}=sk_test_…, from https://dashboard.stripe.com/test/apikeys",
            )
        )
    if _KEY.fullmatch(key) is None:
        what = "a publishable key (`pk_`)" if key.startswith("pk_") else "not a Stripe key"
        raise ConfigError(
            Problem(
                code="bad-stripe-key",
                summary=f"what the environment variable {variable} holds is {what}",
                hint="use a secret or restricted key: it begins with sk_test_, rk_test_, sk_live_ or rk_live_",
            )
        )
    return key


def check_live(*, target: str, live_targets: tuple[str, ...]) -> None:
    """A live key is for targets that the user has named. Raises `ConfigError`."""
    if target not in live_targets:
        named = (
            f"name one of the live targets with `--target` ({', '.join(live_targets)})"
            if live_targets
            else (f"add `live_targets: [{target}]` to vars.stripe_sync in dbt_project.yml, if it is to move real money")
        )
        raise ConfigError(
            Problem(
                code="live-key",
                summary=f"the key is a live one, and target `{target}` is not named as live",
                hint=f"use a test key, or {named}",
            )
        )


def check_address(url: str | None, allowed: tuple[str, ...]) -> str:
    """Where calls go: Stripe, this machine, or an address that the settings name. Raises `ConfigError`."""
    if url is None:
        return OFFICIAL
    base = url.rstrip("/")
    parts = urlsplit(base)
    host = parts.hostname or ""
    if is_stripe(base) or is_local(base) or base in {address.rstrip("/") for address in allowed}:
        return base
    raise ConfigError(
        Problem(
            code="foreign-address",
            summary=f"{parts.scheme}://{host} is neither Stripe nor this machine, and a key would be sent there",
            hint="if that is meant, add it to `allowed_api_bases` in vars.stripe_sync of dbt_project.yml",
        )
    )


def is_stripe(url: str) -> bool:
    """Whether an address is Stripe's own."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" and (host == "stripe.com" or host.endswith(".stripe.com"))


def is_local(url: str) -> bool:
    """Whether an address is on this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in {"http", "https"}:
        return False
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
