"""Turns dbt-duckdb's profile settings into what DuckDB has to open, attach and set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from dbt_stripe_sync.model.errors import Problem, WarehouseError
from dbt_stripe_sync.model.home import with_home
from dbt_stripe_sync.warehouse.failures import bad_setting
from dbt_stripe_sync.warehouse.select import double_quoted

MOTHERDUCK = ("md:", "motherduck:")
TOKEN = "motherduck_token"  # noqa: S105 - the setting's name
# Catalogs that may be a local file, the longest prefix first.
LOCAL_CATALOGS = ("ducklake:sqlite:", "ducklake:duckdb:", "ducklake:", "sqlite:")
UNQUOTED_SECRET_PARTS = frozenset({"type", "provider"})


class Attachment(Struct, frozen=True, kw_only=True):
    """One ATTACH statement. `path` is its name in messages."""

    path: str
    sql: str


class DuckDBProfile(Struct, frozen=True, kw_only=True):
    """A resolved profile. `file` is the database file, None if it is remote. `database` is its name in SQL.

    `connect_to` is what DuckDB opens: MotherDuck, or memory to which everything is attached. `session_sql` has
    statements by setting, and runs once for each cursor. `secret_sql` contains secrets and is never shown.
    """

    database: str
    file: Path | None
    connect_to: str
    config: Mapping[str, Any]
    attachments: tuple[Attachment, ...]
    extensions: tuple[tuple[str, str | None], ...]
    secret_sql: tuple[str, ...]
    filesystems: tuple[Mapping[str, Any], ...]
    session_sql: tuple[tuple[str, str], ...]
    connect_attempts: int


def parse_profile(target: Mapping[str, Any], project_root: Path) -> DuckDBProfile:
    """The settings of a `duckdb` output.

    Raises `WarehouseError` if they don't name a database that can be read later.
    """
    path = str(target.get("path") or ":memory:")
    if target.get("remote"):
        raise bad_setting("duckdb", "remote", "names a Buena Vista server, which can't be read", "set `path` instead")
    if path == ":memory:" and not target.get("attach"):
        raise WarehouseError(
            Problem(
                code="warehouse-missing",
                summary="the profile's DuckDB database is in memory, and is gone when dbt ends",
                hint="give the profile's output a `path`, such as `path: target/dev.duckdb`",
            )
        )
    settings = dict(target.get("settings") or {})
    token = target.get(TOKEN) or settings.pop(TOKEN, None)
    config = {
        name: value for name, value in (target.get("config_options") or {}).items() if name.lower() != "access_mode"
    }
    remote = path.startswith(MOTHERDUCK)
    attachments = [_attachment(entry, project_root) for entry in target.get("attach") or ()]
    if not remote and path != ":memory:":
        attachments.insert(0, _main_attachment(path, project_root))
    if token and (remote or any(attachment.path.startswith(MOTHERDUCK) for attachment in attachments)):
        config[TOKEN] = token
    retries = target.get("retries") or {}
    file = None if is_remote(path) or path == ":memory:" else Path(_resolved(path, project_root))
    if file is not None:
        # Without it, the connection, which begins in memory, would spill into the current folder. DuckDB itself spills
        # next to a file (duckdb.org/docs/stable/configuration/overview).
        config.setdefault("temp_directory", f"{file}.tmp")
    return DuckDBProfile(
        database=str(target.get("database") or _database_name(path)),
        file=file,
        connect_to=path if remote else ":memory:",
        config=config,
        attachments=tuple(attachments),
        extensions=tuple(_extension(entry) for entry in target.get("extensions") or ()),
        secret_sql=tuple(_secret_sql(target)),
        filesystems=tuple(target.get("filesystems") or ()),
        session_sql=tuple((name, f"SET {name} = {_literal(value)}") for name, value in settings.items()),
        connect_attempts=max(1, int(retries.get("connect_attempts") or 1)),
    )


def _main_attachment(path: str, project_root: Path) -> Attachment:
    resolved = _resolved(path, project_root)
    sql = f"ATTACH {_literal(resolved)} AS {double_quoted(_database_name(path))} (READ_ONLY)"
    return Attachment(path=resolved, sql=sql)


def _attachment(entry: Any, project_root: Path) -> Attachment:
    if not isinstance(entry, Mapping) or not entry.get("path"):
        raise bad_setting("duckdb", "attach", "has an entry without a `path`")
    path = _resolved(str(entry["path"]), project_root)
    options = {str(name).lower(): value for name, value in (entry.get("options") or {}).items()}
    options |= {name: entry[name] for name in ("type", "secret") if entry.get(name)}
    options.pop("read_only", None)
    parts = [] if path.startswith(MOTHERDUCK) else ["READ_ONLY"]
    for name, value in options.items():
        if value is True:
            parts.append(name.upper())
        elif value is not None and value is not False:
            bare = name in {"type", "secret"} or not isinstance(value, str)
            parts.append(f"{name.upper()} {value if bare else _literal(value)}")
    bare_path = path.split("?", 1)[0] if path.startswith(MOTHERDUCK) else path
    alias = f" AS {double_quoted(str(entry['alias']))}" if entry.get("alias") else ""
    suffix = f" ({', '.join(parts)})" if parts else ""
    return Attachment(path=bare_path, sql=f"ATTACH IF NOT EXISTS {_literal(bare_path)}{alias}{suffix}")


def is_remote(path: str) -> bool:
    """Whether a profile's path is something other than a local file."""
    # dbt-duckdb passes URLs (s3://, https://) and prefixed catalogs (md:, ducklake:, postgres:) on unchanged.
    return "://" in path or path.startswith((*MOTHERDUCK, "ducklake:", "postgres:", "mysql:", "sqlite:"))


def _resolved(path: str, project_root: Path) -> str:
    for prefix in LOCAL_CATALOGS:
        rest = path.removeprefix(prefix)
        # `ducklake:name` names a secret, and `ducklake:postgres:dbname=…` is a connection string.
        if rest != path and not any(mark in rest for mark in ":=") and any(mark in rest for mark in "./"):
            return prefix + str((project_root / with_home(rest)).resolve())
    if is_remote(path):
        return path
    return str((project_root / with_home(path)).resolve())


def _database_name(path: str) -> str:
    """The catalog's name as DuckDB and dbt-duckdb derive it (`my.db.duckdb` is `my`)."""
    if path == ":memory:":
        return "memory"
    bare = path.split("?", 1)[0]
    name = bare.rsplit("/", 1)[-1].rsplit(":", 1)[-1]
    if path.startswith(MOTHERDUCK):
        return name.rsplit(".", 1)[0] or "my_db"
    return name.lstrip(".").split(".")[0]


def _extension(entry: Any) -> tuple[str, str | None]:
    if isinstance(entry, Mapping):
        repository = entry.get("repo")
        return str(entry.get("name")), str(repository) if repository else None
    return str(entry), None


def _secret_sql(target: Mapping[str, Any]) -> list[str]:
    secrets = [dict(secret) for secret in target.get("secrets") or ()]
    if target.get("use_credential_provider") == "aws":
        secrets.append({"type": "s3", "provider": "credential_chain"})
    made = []
    for number, secret in enumerate(secrets, start=1):
        secret.pop("persistent", None)  # reading must not store anything on the machine
        name = double_quoted(str(secret.pop("name", f"_dbt_secret_{number}")))
        scope = secret.pop("scope", None)
        scopes = scope if isinstance(scope, list) else [scope] if scope else []
        parts = [f"{key} {_secret_value(key, value)}" for key, value in secret.items() if value is not None]
        parts += [f"scope {_literal(value)}" for value in scopes]
        made.append(f"CREATE OR REPLACE TEMPORARY SECRET {name} ({', '.join(parts)})")
    return made


def _secret_value(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_literal(name)}: {_literal(part)}" for name, part in value.items())
        return f"MAP {{{pairs}}}"
    if isinstance(value, list | tuple):
        return f"ARRAY [{', '.join(_literal(part) for part in value)}]"
    return str(value) if key in UNQUOTED_SECRET_PARTS else _literal(value)


def _literal(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"
