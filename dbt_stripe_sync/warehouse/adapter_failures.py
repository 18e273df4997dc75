"""Turns errors of a dbt adapter's driver into Problems, by their SQLSTATE or message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.warehouse.failures import (
    connection_lost,
    denied,
    not_authorised,
    not_permitted,
    read_failed,
    relation_missing,
    unreachable,
)
from dbt_stripe_sync.warehouse.network import check_reachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.errors import WarehouseError
    from dbt_stripe_sync.model.nodes import RowSource

# DB-API defines no error codes. Some drivers have an SQLSTATE; for the others, the message has to be matched.
UNDEFINED_STATES = frozenset({"42P01", "42S02", "3F000"})
UNDEFINED_WORDS = (
    "does not exist",
    "no such table",
    "not found",
    "not_found",
    "doesn't exist",
    "invalid object name",
    "unknown table",
    "cannot be found",
)
DENIED_WORDS = (
    "permission denied",
    "access denied",
    "command denied",
    "not enough privileges",
    "permission was denied",
)
AUTH_WORDS = (
    "access denied for user",
    "authentication failed",
    "login failed",
    "password is incorrect",
    "invalid credentials",
    "unauthorized",
    "error 401",
)
DATABASE_DENIED_WORDS = ("to database", "permission denied", "not enough privileges", "cannot open database")
LOST_WORDS = ("lost connection", "server has gone away", "connection reset", "broken pipe", "connection refused")


def connect_failure(place: str, target: Mapping[str, Any], reason: str, message: str | None = None) -> WarehouseError:
    """Why the connection failed: network, credentials or permission. `message` is matched but not shown."""
    text = (message or reason).lower()
    user = target.get("user") or target.get("username") or target.get("UID")
    if any(word in text for word in DATABASE_DENIED_WORDS):
        return not_permitted(place, user, "may not use the database", "grant it the database, or change `schema`")
    if any(word in text for word in AUTH_WORDS):
        return not_authorised(place, user)
    host, port = target.get("host") or target.get("server"), target.get("port")
    if isinstance(host, str) and port:
        check_reachable(place, host, int(port))  # its message is more precise than most drivers'
    return unreachable(place, reason)


def read_failure(source: RowSource, error: Exception) -> WarehouseError:
    """A driver's error while reading a model, as a problem without row values."""
    state = getattr(error, "pgcode", None) or getattr(error, "sqlstate", None)
    message = str(error).lower()
    if state in UNDEFINED_STATES or any(word in message for word in UNDEFINED_WORDS):
        return relation_missing(source)
    if any(word in message for word in DENIED_WORDS):
        return denied(source)
    if any(word in message for word in LOST_WORDS):
        return connection_lost(source, type(error).__name__)
    return read_failed(source, f"{type(error).__name__} ({state})" if state else type(error).__name__)
