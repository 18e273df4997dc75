"""Builds a dbt adapter as dbt itself does, with any installed dbt 1.x.

dbt moved its modules between packages in 1.8, and some adapters (dbt-mysql) have no release for versions after 1.7.
"""

from __future__ import annotations

from argparse import Namespace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dbt.adapters.factory import get_adapter, register_adapter, reset_adapters
from dbt.config.runtime import RuntimeConfig
from dbt.exceptions import DbtProfileError, DbtProjectError
from dbt.flags import set_from_args

from dbt_stripe_sync.warehouse.failures import bad_setting

if TYPE_CHECKING:
    from dbt_stripe_sync.warehouse.requests import AdapterRequest

try:
    from dbt.adapters.exceptions import FailedToConnectError
    from dbt.mp_context import get_mp_context
    from dbt_common.events.event_manager_client import cleanup_event_logger
    from dbt_common.exceptions import DbtBaseException
except ModuleNotFoundError:  # dbt 1.7
    from dbt.events.functions import cleanup_event_logger
    from dbt.exceptions import DbtRuntimeError as DbtBaseException
    from dbt.exceptions import FailedToConnectError

    get_mp_context = None

__all__ = ["DbtBaseException", "FailedToConnectError", "build_adapter", "reason_of"]


def build_adapter(request: AdapterRequest, kind: str) -> Any:
    """The adapter of the profile's target, not yet connected.

    Raises `WarehouseError` (`warehouse-setting`) if dbt can't load the profile or its adapter.
    """
    arguments = Namespace(
        project_dir=str(request.project_dir),
        profiles_dir=str(request.profiles_dir),
        profile=request.profile,
        target=request.target,
        vars=dict(request.vars),
        threads=1,
        send_anonymous_usage_stats=False,
    )
    try:
        import_module(f"dbt.adapters.{kind}")
    except ImportError as error:
        # For example pyodbc without its ODBC library, or dbt-spark without the extra for its `method`.
        hint = f"run `python -c 'import dbt.adapters.{kind}'` to see why; reinstall its package with what it needs"
        raise bad_setting("dbt", "type", f"is `{kind}`, whose adapter can't be imported: {error}", hint) from None
    try:
        set_from_args(arguments, None)
        config = RuntimeConfig.from_args(arguments)
    except (DbtProfileError, DbtProjectError) as error:
        raise bad_setting("dbt", request.profile or "profile", f"can't be loaded: {reason_of(error)}") from None
    cleanup_event_logger()  # dbt would log the registered adapter to stdout, which is for our data
    reset_adapters()  # an adapter of another project or target may be registered for the same type
    if get_mp_context is None:
        register_adapter(config)
    else:
        register_adapter(config, get_mp_context())
    return get_adapter(config)


def reason_of(error: Exception) -> str:
    """The reason in a dbt error's message, which begins with one or two headings ("Runtime Error")."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines[1:] if line not in HEADINGS]
    return said[0] if said else (lines[0] if lines else type(error).__name__)


HEADINGS = frozenset({"Runtime Error", "Database Error", "Compilation Error", "Validation Error"})
