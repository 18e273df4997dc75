"""Checks that the settings of a profile's output have the types that its dbt adapter expects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.warehouse.failures import bad_setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from dbt_stripe_sync.model.errors import WarehouseError


def check_shapes(name: str, target: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings that have a value. Raises `WarehouseError` (`warehouse-setting`) if one has the wrong type."""
    said = {setting: value for setting, value in target.items() if value is not None}
    shapes = {**_SHAPES, "retries": _NAMES} if name == "duckdb" else _SHAPES
    for setting, (fits, expected) in shapes.items():
        if setting in said and not fits(said[setting]):
            raise _misshapen(name, setting, expected)
    attempts = said.get("retries")
    if isinstance(attempts, Mapping) and not _is_whole_number(attempts.get("connect_attempts") or 0):
        raise _misshapen(name, "retries.connect_attempts", "a whole number")
    return said


def _misshapen(name: str, setting: str, expected: str) -> WarehouseError:
    return bad_setting(name, setting, f"is not {expected}", "correct it in profiles.yml; `dbt debug` reads it too")


def _is_whole_number(value: Any) -> bool:
    try:
        int(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_list_of_mappings(value: Any) -> bool:
    return _is_list(value) and all(map(_is_mapping, value))


def _are_attachments(value: Any) -> bool:
    return _is_list_of_mappings(value) and all(_is_mapping(entry.get("options") or {}) for entry in value)


_NUMBER = (_is_whole_number, "a whole number")
_NAMES = (_is_mapping, "a mapping of names to values")
_LISTED_NAMES = (_is_list_of_mappings, "a list of mappings")
_SHAPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "port": _NUMBER,
    "retries": _NUMBER,
    "connect_retries": _NUMBER,
    "connect_timeout": _NUMBER,
    "keepalives_idle": _NUMBER,
    "job_execution_timeout_seconds": _NUMBER,
    "timeout_seconds": _NUMBER,
    "settings": _NAMES,
    "config_options": _NAMES,
    "session_properties": _NAMES,
    "connection_parameters": _NAMES,
    "attach": (_are_attachments, "a list of databases, each with a `path`"),
    "secrets": _LISTED_NAMES,
    "filesystems": _LISTED_NAMES,
    "extensions": (_is_list, "a list"),
    "scopes": (_is_list, "a list"),
}
