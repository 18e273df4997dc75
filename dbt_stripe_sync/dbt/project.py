"""dbt_project.yml and profiles.yml: the project, its target and its settings, found and rendered as dbt does it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dbt_stripe_sync.dbt.rendering import Renderer
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROJECT_FILE = "dbt_project.yml"
PROFILES_FILE = "profiles.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class DbtProject:
    """A dbt project with the target that a run works on.

    `target` holds the profile output's settings, rendered, with its `type`; `settings` is `vars.stripe_sync`.
    """

    root: Path
    name: str
    profile: str
    target_name: str
    target: Mapping[str, Any]
    variables: Mapping[str, Any]
    target_path: Path
    model_paths: tuple[str, ...]
    profiles_dir: Path
    settings: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the command line says of the project; None where it says nothing."""

    profiles_dir: Path | None = None
    profile: str | None = None
    target: str | None = None
    variables: str | None = None


def read_project(project_dir: Path, chosen: Chosen, *, env: Mapping[str, str] | None = None) -> DbtProject:
    """The project in a folder, with its target. Raises `ConfigError` with every problem."""
    env = os.environ if env is None else env
    root = _find_root(project_dir)
    raw = _read_yaml(
        root / PROJECT_FILE,
        "no-project",
        f"there is no {PROJECT_FILE} here",
        "go to your dbt project, or name it with `--project-dir`",
    )
    overrides = _parse_variables(chosen.variables)
    declared = _as_names(raw.get("vars"), Location(file=PROJECT_FILE, field="vars"), "bad-project")
    name = str(raw.get("name") or "")
    variables = {**declared, **_scoped(declared, name), **overrides}
    renderer = Renderer(env=env, variables=variables)
    where = Location(file=PROJECT_FILE)
    profile_name = (
        chosen.profile or _flag(env, "PROFILE") or renderer.render(raw.get("profile"), where.at_field("profile"))
    )
    if renderer.problems:
        raise ConfigError(renderer.problems)
    folder = _profiles_dir(root, chosen.profiles_dir, env)
    target_name, target = _read_target(folder, str(profile_name or ""), chosen, env, renderer)
    renderer.context["target"] = {**target, "name": target_name, "target_name": target_name}
    target_path = _flag(env, "TARGET_PATH") or renderer.render(raw.get("target-path"), where.at_field("target-path"))
    settings = renderer.render(variables.get("stripe_sync"), where.at_field("vars.stripe_sync"))
    if renderer.problems:
        raise ConfigError(renderer.problems)
    return DbtProject(
        root=root,
        name=name,
        profile=str(profile_name),
        target_name=target_name,
        target=target,
        variables=variables,
        target_path=root / str(target_path or "target"),
        model_paths=tuple(str(path) for path in raw.get("model-paths") or ["models"]),
        profiles_dir=folder,
        settings=settings,
    )


def _find_root(project_dir: Path) -> Path:
    """The folder itself; where none is named, the nearest one with a project, from here upwards, as dbt does it."""
    here = project_dir.expanduser().resolve()
    if project_dir != Path():
        return here
    return next((folder for folder in (here, *here.parents) if (folder / PROJECT_FILE).is_file()), here)


def _flag(env: Mapping[str, str], name: str) -> str | None:
    """An option of dbt's from the environment: dbt 1.11 and later take DBT_ENGINE_X before DBT_X."""
    return env.get(f"DBT_ENGINE_{name}") or env.get(f"DBT_{name}")


def _profiles_dir(root: Path, chosen: Path | None, env: Mapping[str, str]) -> Path:
    """docs.getdbt.com/docs/core/connect-data-platform/profiles.yml: the flag, the variable, here, then home."""
    named = chosen or _flag(env, "PROFILES_DIR")
    if named:
        return Path(named).expanduser().resolve()
    for folder in (Path.cwd(), root):
        if (folder / PROFILES_FILE).is_file():
            return folder
    return Path(env.get("HOME") or Path.home()) / ".dbt"


def _read_target(
    folder: Path, profile_name: str, chosen: Chosen, env: Mapping[str, str], renderer: Renderer
) -> tuple[str, Mapping[str, Any]]:
    file = folder / PROFILES_FILE
    raw = _read_yaml(
        file,
        "no-profiles",
        f"there is no {PROFILES_FILE} of dbt",
        "name its folder with `--profiles-dir` or DBT_PROFILES_DIR; in dbt Cloud jobs, commit one that reads its "
        "secrets with `env_var`",
    )
    where = Location(file=str(file))
    if profile_name not in raw:
        known = _listed(name for name in raw if name != "config")
        raise ConfigError(
            Problem(
                code="no-profile",
                summary=f"there is no profile `{profile_name}`" if profile_name else "the project names no profile",
                where=where,
                hint=f"there are: {known}; `profile:` in {PROJECT_FILE} or `--profile` names one",
            )
        )
    at = where.at_field(profile_name)
    profile = _as_names(raw[profile_name], at, "bad-profile")
    outputs = _as_names(profile.get("outputs"), at.at_field("outputs"), "bad-profile")
    named = chosen.target or _flag(env, "TARGET") or renderer.render(profile.get("target"), at.at_field("target"))
    if renderer.problems:
        raise ConfigError(renderer.problems)
    target_name = str(named or "default")
    if target_name not in outputs:
        raise ConfigError(
            Problem(
                code="no-target",
                summary=f"the profile `{profile_name}` has no target `{target_name}`",
                where=at.at_field("outputs"),
                hint=f"there are: {_listed(outputs)}; `--target` names one",
            )
        )
    at = at.at_field("outputs", target_name)
    rendered = renderer.render(_as_names(outputs[target_name], at, "bad-profile"), at)
    if renderer.problems:
        raise ConfigError(renderer.problems)
    if not rendered.get("type"):
        raise ConfigError(_bad_shape(at, "bad-profile", "it has no `type`", "name the warehouse: `type: postgres`"))
    return target_name, rendered


def _listed(names: Iterable[Any]) -> str:
    """Names for a hint."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def _as_names(value: Any, where: Location, code: str) -> Mapping[str, Any]:
    """A part of the YAML that must be names with values; nothing counts as none. Raises `ConfigError`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(_bad_shape(where, code, "it holds no names and values", "write `name: value` lines below it"))
    return value


def _bad_shape(where: Location, code: str, summary: str, hint: str) -> Problem:
    return Problem(code=code, summary=summary, where=where, hint=hint)


def _parse_variables(text: str | None) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        value = _load_yaml(text)
    except YAMLError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError(
            Problem(
                code="bad-vars",
                summary="`--vars` holds no names and values",
                hint="write YAML, such as --vars '{month: 2026-01}'",
            )
        )
    return value


def _scoped(declared: Mapping[str, Any], project: str) -> Mapping[str, Any]:
    """Variables that dbt_project.yml declares for this project alone, under its name."""
    own = declared.get(project)
    return own if isinstance(own, dict) else {}


def _load_yaml(text: str) -> Any:
    # dbt reads YAML 1.1, where `on` is true and 010 is eight. The same text must mean the same here.
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)
    return yaml.load(text)


def _read_yaml(file: Path, code: str, missing: str, hint: str) -> Mapping[str, Any]:
    try:
        raw = _load_yaml(file.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(Problem(code=code, summary=missing, where=Location(file=str(file)), hint=hint)) from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        # The parser's own words for this one repeat both values, and these may be passwords.
        why = "a name stands there twice" if isinstance(error, DuplicateKeyError) else error.problem
        raise ConfigError(_bad_yaml(f"{file}{line}", why)) from None
    except (YAMLError, UnicodeDecodeError):
        raise ConfigError(_bad_yaml(str(file), None)) from None
    if not isinstance(raw, dict):
        raise ConfigError(_bad_yaml(str(file), "it holds no names and values"))
    return raw


def _bad_yaml(file: str, why: str | None) -> Problem:
    return Problem(
        code="bad-yaml",
        summary=f"the file is no YAML{f': {why}' if why else ''}",
        where=Location(file=file),
        hint="`dbt parse` says more",
    )
