"""Project-wide settings: `vars: {stripe_sync: {...}}` of dbt_project.yml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from dbt_stripe_sync.config.alerts import parse_alerts
from dbt_stripe_sync.config.leaks import find_secrets
from dbt_stripe_sync.config.problems import Problems
from dbt_stripe_sync.config.state_url import EXAMPLES, find_fault
from dbt_stripe_sync.config.suggest import did_you_mean, listed
from dbt_stripe_sync.model.errors import Location
from dbt_stripe_sync.model.sync import DiffPlace

if TYPE_CHECKING:
    from dbt_stripe_sync.config.alerts import Alert
    from dbt_stripe_sync.model.errors import Problem


class Settings(Struct, frozen=True, kw_only=True):
    """The settings for all syncs of a project.

    `docs/settings.md` describes each one.

    - `api_key_env` names the variable with the key. `live_targets` are the dbt targets that may use a live key, and
      `account` is the only account that may be written to.
    - `state` is the URL of a state on an object store.
    - Rates are requests per second; None means 80 % of Stripe's own limits. `share_free` (0 to 1) changes the share
      that is left to other traffic from 0.2.
    - `max_reads` is how many reads of Stripe a plan may take. `outage_timeout` is for how many seconds requests are
      retried while Stripe can't be reached.
    - `warehouse_connect_timeout` and `warehouse_read_timeout` are seconds to wait for a connection and for each answer.
    - `memory_mb` is how much memory comparing rows may take before it spills to disk.
    - `store_values` says whether the state keeps row values; a sync may override it.
    - `require_results` holds models without a known dbt result.
    - A sync is stopped once Stripe has rejected `max_rejections_per_cause` of its rows for one cause; 0 means no limit.
    - `show_amounts` shows amounts of prices in plans without other values.
    - `alerts` are the addresses that receive alerts.
    - `log` is `warehouse` if runs are logged there, in the schema `log_schema`; None means a schema next to the
      target's own.
    - `diff` is where rows are compared unless a sync overrides it. With `warehouse`, the hashes of accepted rows are in
      the schema `diff_schema`.
    """

    api_key_env: str = "STRIPE_API_KEY"
    live_targets: tuple[str, ...] = ()
    account: str | None = None
    state: str | None = None
    state_path: str | None = None
    api_base: str | None = None
    allowed_api_bases: tuple[str, ...] = ()
    account_per_second: float | None = None
    endpoint_per_second: float | None = None
    share_free: float | None = None
    concurrency: int | None = None
    max_reads: int | None = None
    store_values: bool = True
    outage_timeout: float | None = None
    warehouse_connect_timeout: float | None = None
    warehouse_read_timeout: float | None = None
    memory_mb: int | None = None
    require_results: bool = False
    max_rejections_per_cause: int = 50
    show_amounts: bool = False
    alerts: tuple[Alert, ...] = ()
    log: str | None = None
    log_schema: str | None = None
    diff: str = DiffPlace.LOCAL.value
    diff_schema: str = "stripe_sync"


# PostgreSQL truncates longer names, so two schemas could become one.
LONGEST_SCHEMA = 63
_TEXTS = ("api_key_env", "account", "state", "state_path", "api_base")
_LOG = ("log", "log_schema")
_DIFF = ("diff", "diff_schema")
_SCHEMAS = ("log_schema", "diff_schema")
_LISTS = ("live_targets", "allowed_api_bases")
_NUMBERS = (
    "account_per_second",
    "endpoint_per_second",
    "share_free",
    "concurrency",
    "max_reads",
    "outage_timeout",
    "warehouse_connect_timeout",
    "warehouse_read_timeout",
    "memory_mb",
)
_WHOLE = ("concurrency", "max_reads", "memory_mb")
_COUNTS = ("max_rejections_per_cause",)
_SWITCHES = ("store_values", "require_results", "show_amounts")
_ALERTS = "alerts"
NAMES = (*_TEXTS, *_LISTS, *_NUMBERS, *_COUNTS, *_SWITCHES, _ALERTS, *_LOG, *_DIFF)


def parse_settings(raw: Any, *, file: str = "dbt_project.yml") -> tuple[Settings, tuple[Problem, ...]]:
    """The settings, and their problems."""
    where = Location(file=file, field="vars.stripe_sync")
    problems = Problems()
    if raw is None:
        return Settings(), ()
    if not isinstance(raw, dict):
        problems.add("not-a-mapping", where, "`stripe_sync` is not a YAML mapping", f"it takes {listed(NAMES)}")
        return Settings(), tuple(problems.found)
    for path in find_secrets(raw):
        problems.add(
            "secret-in-meta",
            where.at_field(*path),
            "the project's YAML contains a Stripe secret",
            "roll it at https://dashboard.stripe.com/apikeys now; name the variable of the new one here",
        )
    chosen: dict[str, Any] = {}
    for name, value in raw.items():
        at = where.at_field(str(name))
        if name not in NAMES:
            hint = f"{did_you_mean(str(name), NAMES)}choose from {listed(NAMES)}"
            problems.add("unknown-setting", at, f"unknown setting `{name}`", hint)
        elif value is not None:
            _take(chosen, str(name), value, at, problems)
    return Settings(**chosen), tuple(problems.found)


def _take(chosen: dict[str, Any], name: str, value: Any, where: Location, problems: Problems) -> None:
    if name == _ALERTS:
        chosen[name] = parse_alerts(value, where, problems)
    elif name in _LISTS:
        chosen[name] = tuple(str(entry) for entry in (value if isinstance(value, list) else [value]))
    elif name in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or not _fits(name, value):
            hint = "a share is between 0 and 1" if name == "share_free" else "write a number above 0"
            problems.add("bad-setting", where, f"`{name}` is out of range", hint)
        else:
            chosen[name] = int(value) if name in _WHOLE else float(value)
    elif name in _COUNTS:
        _take_count(chosen, name, value, where, problems)
    elif name in _SWITCHES:
        if isinstance(value, bool):
            chosen[name] = value
        else:
            problems.add("bad-setting", where, f"`{name}` is neither true nor false", "write `true` or `false`")
    else:
        _take_text(chosen, name, value, where, problems)


def _take_text(chosen: dict[str, Any], name: str, value: Any, where: Location, problems: Problems) -> None:
    if not isinstance(value, str):
        problems.add("bad-setting", where, f"`{name}` is not text", "write a name")
    elif name == "account" and not value.startswith("acct_"):
        problems.add("bad-setting", where, "`account` is not an account id", "write the id that begins with `acct_`")
    elif name == "log" and value != "warehouse":
        problems.add("bad-setting", where, f"`log` can't be `{value}`", "write `log: warehouse`, or remove it")
    elif name == "diff" and value not in {place.value for place in DiffPlace}:
        problems.add("bad-setting", where, f"`diff` can't be `{value}`", "write `local` or `warehouse`")
    elif name in _SCHEMAS and not 0 < len(value) <= LONGEST_SCHEMA:
        hint = f"write a name of at most {LONGEST_SCHEMA} characters"
        problems.add("bad-setting", where, f"`{name}` can't be the name of a schema", hint)
    elif name == "state" and (fault := find_fault(value)) is not None:
        hint = f"write {EXAMPLES}; credentials come from the environment"
        problems.add("bad-setting", where, f"`state` {fault}", hint)
    else:
        chosen[name] = value


def _take_count(chosen: dict[str, Any], name: str, value: Any, where: Location, problems: Problems) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        hint = "write a whole number, or 0 for no limit"
        problems.add("bad-setting", where, f"`{name}` is not a whole number", hint)
    else:
        chosen[name] = value


def _fits(name: str, value: float) -> bool:
    return value < 1 if name == "share_free" else value > 0
