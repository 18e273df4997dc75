"""Checks API keys and addresses: what a key may be used for, and where it may be sent."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from dbt_stripe_sync.model.errors import ConfigError, Location, Problem

# docs.stripe.com/keys: secret and restricted keys, for live mode and for sandboxes, and those of an organization
# (docs.stripe.com/keys/organization-api-keys), which may not show their mode.
_KEY = re.compile(r"(?:(?:sk|rk)_(?P<mode>live|test)_|(?P<org>sk_org_)(?:(?P<org_mode>live|test)_)?)\w{8,}")
OFFICIAL = "https://api.stripe.com"


def mode_of(key: str) -> str | None:
    """Return `live` or `test`, or None if the key doesn't show it."""
    found = _KEY.fullmatch(key)
    return (found["mode"] or found["org_mode"]) if found else None


def is_live(key: str) -> bool:
    """Return whether a key moves real money. A key that doesn't show its mode counts as live."""
    return mode_of(key) == "live" or (is_organization(key) and mode_of(key) is None)


def is_restricted(key: str) -> bool:
    """Return whether a key may have only selected permissions. An organization's key doesn't show that."""
    return key.startswith("rk_") or is_organization(key)


def is_organization(key: str) -> bool:
    """Return whether a key belongs to an organization, and acts for the account that each request names."""
    found = _KEY.fullmatch(key)
    return found is not None and found["org"] is not None


def check_organization(key: str, account: str | None, *, settings_file: str) -> None:
    """Check that an organization's key has an account to act for. Raises `ConfigError`."""
    if is_organization(key) and account is None:
        raise ConfigError(
            Problem(
                code="no-account",
                summary="the key is an organization's, and the settings don't name the account that it acts for",
                where=Location(file=settings_file, field="vars.stripe_sync.account"),
                hint=f"add `account: acct_…` to vars.stripe_sync in {settings_file}",
            )
        )


def check_key(key: str | None, variable: str) -> str:
    """Return the key from an environment variable. Raises `ConfigError`, whose messages never contain the key."""
    is_set = key is not None
    key = (key or "").strip()  # a secret mounted from a file often ends with a line break
    if not key:
        raise ConfigError(
            Problem(
                code="no-stripe-key",
                summary=f"the environment variable {variable} is {'empty' if is_set else 'not set'}",
                hint=f"export {variable}=sk_test_…, from https://dashboard.stripe.com/test/apikeys; "
                "without an account, start a local Stripe with `dbt-stripe-sync sandbox`",
            )
        )
    if _KEY.fullmatch(key) is None:
        what = "a publishable key (`pk_`)" if key.startswith("pk_") else "something that is not a Stripe key"
        raise ConfigError(
            Problem(
                code="bad-stripe-key",
                summary=f"the environment variable {variable} holds {what}",
                hint="use a secret or restricted key: it begins with sk_test_, rk_test_, sk_live_, rk_live_ or sk_org_",
            )
        )
    return key


def check_live(*, target: str, live_targets: tuple[str, ...], settings_file: str) -> None:
    """Check that a live key is used only with targets that the user has named. Raises `ConfigError`."""
    if target not in live_targets:
        named = (
            f"name one of the live targets with `--target` ({', '.join(live_targets)})"
            if live_targets
            else (
                f"add `live_targets: [{target}]` to vars.stripe_sync in {settings_file}, if it should move real money"
            )
        )
        raise ConfigError(
            Problem(
                code="live-key",
                summary=f"the key is a live one, and target `{target}` is not in `live_targets`",
                hint=f"use a test key, or {named}",
            )
        )


def check_address(url: str | None, allowed: tuple[str, ...], *, settings_file: str) -> str:
    """Return the address to call: Stripe, this machine, or one that the settings allow. Raises `ConfigError`."""
    if url is None:
        return OFFICIAL
    base = url.strip().rstrip("/")
    if (wrong := _unreadable_as(base)) is not None:
        raise ConfigError(_bad_address(wrong))
    if base in {address.strip().rstrip("/") for address in allowed}:
        return base
    if is_stripe(base) or is_local(base):
        if (more := _more_than_a_host(base)) is not None:
            raise ConfigError(_bad_address(more))
        return base
    parts = urlsplit(base)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        summary = "the address of Stripe is not an http:// or https:// URL with a host"
    elif is_stripe(f"https://{parts.hostname}"):
        summary = f"{parts.scheme}://{parts.hostname} is not encrypted, so the key would be sent in plain text"
    else:
        summary = f"{parts.scheme}://{parts.hostname} is neither Stripe nor this machine, and a key would be sent there"
    raise ConfigError(
        Problem(
            code="foreign-address",
            summary=summary,
            hint="leave it out for Stripe itself; if another address is meant, add it to `allowed_api_bases` in "
            f"vars.stripe_sync of {settings_file}",
        )
    )


def _bad_address(wrong: str) -> Problem:
    return Problem(
        code="bad-address",
        summary=f"the address of Stripe {wrong}",
        hint="write it as https://HOST or http://HOST:PORT, or leave it out for Stripe itself",
    )


# The address may contain a password, so none of these messages repeats it.
def _unreadable_as(base: str) -> str | None:
    if not base.isprintable() or any(char.isspace() or char == "\\" for char in base):
        return "has characters that are not allowed in a URL"
    try:
        return "has port 0" if urlsplit(base).port == 0 else None
    except ValueError:
        return "is not a URL"


def _more_than_a_host(base: str) -> str | None:
    parts = urlsplit(base)
    if "@" in parts.netloc:
        return "has a user name or password, which Stripe doesn't accept there"
    return "has a path, a query or a fragment" if parts.path or parts.query or parts.fragment else None


def is_stripe(url: str) -> bool:
    """Return whether an address is Stripe's own."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" and (host == "stripe.com" or host.endswith(".stripe.com"))


def is_local(url: str) -> bool:
    """Return whether an address is on this machine."""
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
