"""Which dbt Cloud account to ask, and with which token: read from the environment, never from YAML."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dbt_stripe_sync.model.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# docs.getdbt.com/docs/cloud/about-cloud/access-regions-ip-addresses: the multi-tenant host in North America.
DEFAULT_HOST = "cloud.getdbt.com"
HOST = "DBT_CLOUD_HOST"
# The first name is the documented one; the others are what dbt's own tools and their users set already.
ACCOUNT = ("DBT_CLOUD_ACCOUNT_ID", "DBT_CLOUD_ACCOUNT")
TOKEN = ("DBT_CLOUD_API_TOKEN", "DBT_CLOUD_TOKEN", "DBT_CLOUD_SERVICE_TOKEN", "DBT_CLOUD_API_KEY")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudAccess:
    """An account of dbt Cloud. `base_url` has no path."""

    base_url: str
    account_id: str
    token: str = field(repr=False)


def read_access(env: Mapping[str, str] | None = None) -> CloudAccess:
    """The account that the environment names. Raises `ConfigError` with everything that is missing or wrong."""
    env = os.environ if env is None else env
    problems = list(_find_problems(env))
    if problems:
        raise ConfigError(problems)
    return CloudAccess(
        base_url=_base_url(env.get(HOST) or DEFAULT_HOST),
        account_id=_first(env, ACCOUNT),
        token=_first(env, TOKEN),
    )


def _find_problems(env: Mapping[str, str]) -> Iterator[Problem]:
    account = _first(env, ACCOUNT)
    if not account:
        yield _problem(
            f"{ACCOUNT[0]} is not set",
            f"export {ACCOUNT[0]}: the number after `/accounts/` in the address of any dbt Cloud page",
        )
    elif not account.isdecimal():
        yield _problem(f"{ACCOUNT[0]} is not a number", "copy the number after `/accounts/` in a dbt Cloud address")
    if not _first(env, TOKEN):
        yield _problem(
            f"{TOKEN[0]} is not set",
            f"create a service token with the permission Job Admin in dbt Cloud and export it as {TOKEN[0]}",
        )
    if not _is_safe(env.get(HOST) or DEFAULT_HOST):
        yield _problem(
            f"{HOST} is not a host name or an https address",
            f"copy the access URL of your account, such as `{DEFAULT_HOST}` or `ab123.us1.dbt.com`",
        )


def _problem(summary: str, hint: str) -> Problem:
    return Problem(code="dbt-cloud-settings", summary=summary, hint=hint)


def _first(env: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((value for name in names if (value := env.get(name, "").strip())), "")


def _base_url(host: str) -> str:
    return (host if "://" in host else f"https://{host}").strip().rstrip("/")


def _is_safe(host: str) -> bool:
    """Whether the token is sent over TLS, or stays on this machine."""
    try:
        parts = urlsplit(_base_url(host))
        is_loopback = parts.hostname in LOOPBACK
        has_extra = bool(parts.path or parts.query or parts.username or parts.fragment)
        _ = parts.port
    except ValueError:
        return False
    return (
        bool(parts.hostname) and not has_extra and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback))
    )
