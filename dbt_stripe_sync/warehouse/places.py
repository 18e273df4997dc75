"""Describes warehouses in messages, and defines how long their connections may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.warehouse.patience import CONNECT_SECONDS, READ_SECONDS, Patience

if TYPE_CHECKING:
    from dbt_stripe_sync.warehouse.requests import TimeLimits

NAMES = {
    "bigquery": "BigQuery",
    "clickhouse": "ClickHouse",
    "databricks": "Databricks",
    "duckdb": "DuckDB",
    "mariadb": "MariaDB",
    "mysql": "MySQL",
    "mysql5": "MySQL",
    "postgres": "PostgreSQL",
    "redshift": "Redshift",
    "snowflake": "Snowflake",
    "spark": "Spark",
    "sqlserver": "SQL Server",
    "trino": "Trino",
}
# Settings that identify a warehouse, the most important first. None of them is a secret.
PARTS = {"host": "at {}", "server": "at {}", "account": "account `{}`", "project": "project `{}`"}
DATABASES = ("database", "dbname")
# For a login in a browser.
BROWSER_SECONDS = 300.0
# For extensions, which are downloaded unless they are installed.
EXTENSIONS_SECONDS = 300.0
# A warehouse that was suspended accepts the session only once it has started.
STARTING_SECONDS = {"databricks": 600.0, "spark": 300.0}


def describe_place(name: str, target: Mapping[str, Any]) -> str:
    """The warehouse with its host and database, such as "PostgreSQL at db.example:5432, database `shop`"."""
    text = NAMES.get(name, f"the warehouse of type `{name}`")
    if name == "duckdb":
        path = str(target.get("path") or ":memory:")
        return f"{text} database {path.split('?', 1)[0]}"
    found = next(((form, target[part]) for part, form in PARTS.items() if target.get(part)), None)
    if found is not None:
        form, value = found
        port = f":{target['port']}" if target.get("port") and form == PARTS["host"] else ""
        text = f"{text} {form.format(f'{value}{port}')}"
    database = next((target[part] for part in DATABASES if target.get(part)), None)
    return f"{text}, database `{database}`" if database else text


def patience_for(name: str, target: Mapping[str, Any], limits: TimeLimits) -> Patience:
    """How long to wait, from the settings, the profile, or the defaults, in this order."""
    connect = limits.connect_seconds or _profile_seconds(target)
    if connect is None:
        connect = BROWSER_SECONDS if _needs_browser(target) else STARTING_SECONDS.get(name, CONNECT_SECONDS)
        if target.get("extensions"):
            connect = EXTENSIONS_SECONDS
    return Patience(connect_seconds=connect, read_seconds=limits.read_seconds or READ_SECONDS)


def _profile_seconds(target: Mapping[str, Any]) -> float | None:
    """The total of the profile's timeouts and retries in seconds, but at least the default."""
    retries = target.get("retries") or target.get("connect_retries") or 0
    if isinstance(retries, Mapping):  # dbt-duckdb's, which doubles the wait before each retry
        return CONNECT_SECONDS + 2.0 ** int(retries.get("connect_attempts") or 0)
    try:
        seconds = float(target.get("connect_timeout") or 0)
        tries = 1 + max(0, int(retries))
    except (TypeError, ValueError):
        return None
    return max(CONNECT_SECONDS, tries * seconds) if seconds > 0 else None


def _needs_browser(target: Mapping[str, Any]) -> bool:
    if str(target.get("authenticator") or "").lower() == "externalbrowser":
        return True
    if str(target.get("method") or "") in {"browser_identity_center", "oauth_console"}:
        return True
    is_oauth = target.get("auth_type") == "oauth"
    return is_oauth and not (target.get("client_secret") or target.get("azure_client_secret"))
