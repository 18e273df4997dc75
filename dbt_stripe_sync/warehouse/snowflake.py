"""Reads Snowflake through its ADBC driver.

Settings: docs.getdbt.com/docs/core/connect-data-platform/snowflake-setup. Tested for real: every authentication method,
up to the driver's validation of its options; reading, with the same code on another ADBC driver. Not tested: a real
Snowflake account.
"""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import adbc_driver_manager
from adbc_driver_snowflake import AuthType, DatabaseOptions, StatementOptions
from adbc_driver_snowflake import dbapi as adbc

from dbt_stripe_sync.model.home import with_home
from dbt_stripe_sync.warehouse.adbc_rows import AdbcWarehouse, Dialect
from dbt_stripe_sync.warehouse.failures import (
    bad_setting,
    first_line,
    not_authorised,
    read_failed,
    relation_missing,
    unreachable,
)
from dbt_stripe_sync.warehouse.network import check_reachable
from dbt_stripe_sync.warehouse.select import SourceColumn, double_quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa

    from dbt_stripe_sync.model.errors import WarehouseError
    from dbt_stripe_sync.model.nodes import RowSource

TOKEN_TIMEOUT_SECONDS = 30
HTTPS_PORT = 443
# Nanoseconds, the driver's default, can't represent years after 2262.
TIMESTAMP_PRECISION = ("adbc.snowflake.sql.client_option.max_timestamp_precision", "microseconds")
# docs.snowflake.com/en/sql-reference/errors: object does not exist or not authorized.
UNDEFINED = ("002003", "02000", "42S02")
AUTH_WORDS = ("390100", "390144", "390303", "390318", "incorrect username or password", "jwt token is invalid")
# Profile settings and their driver options, for values that are passed unchanged.
PLAIN_OPTIONS = {
    "database": DatabaseOptions.DATABASE,
    "schema": DatabaseOptions.SCHEMA,
    "warehouse": DatabaseOptions.WAREHOUSE,
    "role": DatabaseOptions.ROLE,
    "host": DatabaseOptions.HOST,
    "port": DatabaseOptions.PORT,
    "protocol": DatabaseOptions.PROTOCOL,
}


def connect(target: Mapping[str, Any], project_root: Path) -> AdbcWarehouse:
    """Connect with the profile's settings. Raises `WarehouseError`."""
    place = f"Snowflake account `{target.get('account')}`, database `{target.get('database')}`,"
    check_reachable(place, _host(target), int(target.get("port") or HTTPS_PORT))
    options = build_options(target, project_root, refreshed_token=_refreshed_token(target))
    attempts = 1 + max(0, int(target.get("connect_retries", 1)))
    for attempt in range(1, attempts + 1):
        try:
            connection = adbc.connect(db_kwargs=options, autocommit=True)
        except adbc_driver_manager.Error as error:
            message = str(error).lower()
            if any(word in message for word in AUTH_WORDS):
                raise not_authorised(place, target.get("user")) from None
            if attempt == attempts:
                raise unreachable(place, _code(error)) from None
            time.sleep(min(attempt * attempt, 10))
            continue
        break
    tag = target.get("query_tag")
    return AdbcWarehouse(connection, dialect({StatementOptions.QUERY_TAG.value: str(tag)} if tag else {}))


def dialect(statement_options: Mapping[str, str]) -> Dialect:
    """Snowflake's dialect: names in double quotes, and semi-structured types as JSON text."""
    return Dialect(
        quote=double_quoted,
        describe=lambda quoted, field: SourceColumn(name=field.name, type=_type_name(field), sql=quoted),
        failure=_read_failure,
        statement_options=statement_options,
        # So that views and times in the session's zone don't depend on the account's time zone.
        session_sql=("ALTER SESSION SET TIMEZONE = 'UTC'",),
    )


def build_options(
    target: Mapping[str, Any], project_root: Path, *, refreshed_token: str | None = None
) -> dict[str, str]:
    """The profile as options of the ADBC driver. They contain secrets.

    `refreshed_token` is the access token for the profile's refresh token. Raises `WarehouseError`.
    """
    if target.get("proxy_host"):
        raise bad_setting("snowflake", "proxy_host", "is not known to the driver", "set HTTPS_PROXY instead")
    options: dict[str, Any] = {
        # Host names can't have underscores; dbt replaces them as well.
        DatabaseOptions.ACCOUNT.value: str(target.get("account", "")).replace("_", "-"),
        DatabaseOptions.APPLICATION_NAME.value: "dbt-stripe-sync",
        DatabaseOptions.DISABLE_TELEMETRY.value: "true",
        DatabaseOptions.USE_HIGH_PRECISION.value: "true",
        TIMESTAMP_PRECISION[0]: TIMESTAMP_PRECISION[1],
        "username": target.get("user"),
        "password": target.get("password", target.get("pass")),
        **{option.value: target.get(name) for name, option in PLAIN_OPTIONS.items()},
    }
    if target.get("connect_timeout"):
        options[DatabaseOptions.LOGIN_TIMEOUT.value] = f"{target['connect_timeout']}s"
    if target.get("client_session_keep_alive"):
        options[DatabaseOptions.KEEP_SESSION_ALIVE.value] = "true"
    if target.get("insecure_mode"):
        options[DatabaseOptions.OCSP_FAIL_OPEN_MODE.value] = "true"
    options |= _authentication(target, project_root, refreshed_token)
    return {name: str(value) for name, value in options.items() if value not in {None, ""}}


def _authentication(target: Mapping[str, Any], project_root: Path, refreshed_token: str | None) -> dict[str, Any]:
    """The options for the profile's `authenticator`, with the same precedence as in dbt-snowflake."""
    kind = DatabaseOptions.AUTH_TYPE.value
    token = {DatabaseOptions.AUTH_TOKEN.value: refreshed_token or target.get("token")}
    authenticator = str(target.get("authenticator") or "")
    if target.get("private_key") or target.get("private_key_path"):
        return {kind: AuthType.JWT.value, **_private_key(target, project_root)}
    if authenticator.startswith("https://"):
        return {kind: AuthType.OKTA.value, DatabaseOptions.AUTH_OKTA_URL.value: authenticator}
    match authenticator.lower():
        case "" | "snowflake":
            return {kind: AuthType.SNOWFLAKE.value}
        case "externalbrowser":
            return {kind: AuthType.EXTERNAL_BROWSER.value, DatabaseOptions.CLIENT_STORE_TEMP_CRED.value: "true"}
        case "username_password_mfa":
            return {kind: AuthType.MFA.value, DatabaseOptions.CLIENT_REQUEST_MFA_TOKEN.value: "true"}
        case "oauth" | "jwt":  # dbt's `jwt` is an OAuth token from elsewhere
            return {kind: AuthType.OAUTH.value, **token}
        case "programmatic_access_token":
            return {kind: AuthType.PAT.value, **token}
        case "workload_identity":
            provider = str(target.get("workload_identity_provider") or "").upper()
            return {kind: AuthType.WIF.value, DatabaseOptions.CLIENT_IDENTITY_PROVIDER.value: provider, **token}
        case _:
            raise bad_setting("snowflake", "authenticator", f"is `{authenticator}`, which isn't supported")


def _private_key(target: Mapping[str, Any], project_root: Path) -> dict[str, Any]:
    path = target.get("private_key_path")
    passphrase = target.get("private_key_passphrase")
    if path:
        try:
            raw = (project_root / with_home(str(path))).read_bytes()
        except OSError:
            raise bad_setting("snowflake", "private_key_path", f"names {path}, which can't be read") from None
        text = raw.decode() if raw.startswith(b"-----") else _as_pem(base64.b64encode(raw).decode(), passphrase)
    else:
        text = str(target["private_key"])
        text = text if text.strip().startswith("-----") else _as_pem(text, passphrase)
    return {
        DatabaseOptions.JWT_PRIVATE_KEY_VALUE.value: text,
        DatabaseOptions.JWT_PRIVATE_KEY_PASSWORD.value: passphrase,
    }


def _as_pem(encoded: str, passphrase: Any) -> str:
    """Base64 DER, which dbt accepts as well, in the PEM format that the driver needs."""
    label = "ENCRYPTED PRIVATE KEY" if passphrase else "PRIVATE KEY"
    body = "".join(encoded.split())
    lines = "\n".join(body[start : start + 64] for start in range(0, len(body), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


def _refreshed_token(target: Mapping[str, Any]) -> str | None:
    """An access token for the profile's refresh token (docs.snowflake.com/en/user-guide/oauth-custom)."""
    client, secret = target.get("oauth_client_id"), target.get("oauth_client_secret")
    if target.get("authenticator") != "oauth" or not (client and secret):
        return None
    fields = {
        "grant_type": "refresh_token",
        "refresh_token": target.get("token"),
        "redirect_uri": "http://localhost:9999",
    }
    request = urllib.request.Request(
        f"https://{_host(target)}/oauth/token-request",
        data=urllib.parse.urlencode(fields).encode(),
        headers={"Authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()},
    )
    place = f"Snowflake account `{target.get('account')}`"
    try:
        with urllib.request.urlopen(request, timeout=TOKEN_TIMEOUT_SECONDS) as answer:  # noqa: S310 - as above
            return str(json.load(answer)["access_token"])
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"its refresh token was rejected (HTTP {error.code})"
        raise not_authorised(place, target.get("user"), reason) from None
    except (OSError, ValueError, KeyError) as error:
        raise unreachable(place, f"no access token for the refresh token ({type(error).__name__})") from None


def _host(target: Mapping[str, Any]) -> str:
    account = str(target.get("account", "")).replace("_", "-")
    return str(target.get("host") or f"{account}.snowflakecomputing.com")


def _type_name(field: pa.Field) -> str:
    metadata = {name.decode(): value.decode() for name, value in (field.metadata or {}).items()}
    name = metadata.get("SNOWFLAKE_TYPE") or metadata.get("logicalType")
    return name.upper() if name else str(field.type)


def _code(error: Exception) -> str:
    """The driver's code, or the error's type. The message isn't used, because it may contain row values."""
    state = getattr(error, "sqlstate", None)
    return f"SQLSTATE {state}" if state else f"{type(error).__name__}: {first_line(error)[:200]}"


def _read_failure(source: RowSource, error: Exception) -> WarehouseError:
    message = str(error)
    if getattr(error, "sqlstate", None) in UNDEFINED or UNDEFINED[0] in message or "does not exist" in message:
        return relation_missing(source)
    state = getattr(error, "sqlstate", None)
    return read_failed(source, f"SQLSTATE {state}" if state else type(error).__name__)
