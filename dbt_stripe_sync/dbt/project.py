"""dbt_project.yml and profiles.yml: the project, its target and its settings, found and rendered as dbt does it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from dbt_stripe_sync.dbt.rendering import Renderer
from dbt_stripe_sync.errors import ConfigError, Location, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    root = project_dir.resolve()
    file = root / PROJECT_FILE
    raw = _read_yaml(
        file,
        "no-project",
        f"there is no {PROJECT_FILE} here",
        "go to your dbt project, or name it with `--project-dir`",
    )
    overrides = _parse_variables(chosen.variables)
    declared = raw.get("vars") or {}
    name = str(raw.get("name") or "")
    variables = {**declared, **_scoped(declared, name), **overrides}
    renderer = Renderer(env=env, variables=variables)
    where = Location(file=PROJECT_FILE)
    profile_name = (
        chosen.profile or env.get("DBT_PROFILE") or renderer.render(raw.get("profile"), where.at_field("profile"))
    )
    folder = _profiles_dir(root, chosen.profiles_dir, env)
    target_name, target = _read_target(folder, str(profile_name or ""), chosen, env, renderer)
    renderer.context["target"] = {"name": target_name, **target}
    target_path = env.get("DBT_TARGET_PATH") or renderer.render(raw.get("target-path"), where.at_field("target-path"))
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


def _profiles_dir(root: Path, chosen: Path | None, env: Mapping[str, str]) -> Path:
    """docs.getdbt.com/docs/core/connect-data-platform/profiles.yml: the flag, the variable, here, then home."""
    if chosen is not None:
        return chosen.resolve()
    if env.get("DBT_PROFILES_DIR"):
        return Path(env["DBT_PROFILES_DIR"]).expanduser().resolve()
    home = Path(env.get("HOME") or Path.home()) / ".dbt"
    for folder in (Path.cwd(), root):
        if (folder / PROFILES_FILE).is_file():
            return folder
    return home


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
        known = ", ".join(f"`{name}`" for name in raw if name != "config")
        raise ConfigError(
            Problem(
                code="no-profile",
                summary=f"there is no profile `{profile_name}`",
                where=where,
                hint=f"there are {known}; `profile:` in {PROJECT_FILE} or `--profile` names one",
            )
        )
    profile = raw[profile_name] or {}
    at = where.at_field(profile_name)
    outputs = profile.get("outputs") or {}
    target_name = (
        chosen.target or env.get("DBT_TARGET") or renderer.render(profile.get("target"), at.at_field("target"))
    )
    target_name = str(target_name or "default")
    if target_name not in outputs:
        known = ", ".join(f"`{name}`" for name in outputs) or "none"
        raise ConfigError(
            Problem(
                code="no-target",
                summary=f"the profile `{profile_name}` has no target `{target_name}`",
                where=at.at_field("outputs"),
                hint=f"there are: {known}; `--target` names one",
            )
        )
    rendered = renderer.render(outputs[target_name], at.at_field("outputs", target_name))
    if renderer.problems:
        raise ConfigError(renderer.problems)
    return target_name, rendered


def _parse_variables(text: str | None) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        value = YAML(typ="safe", pure=True).load(text)
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


def _read_yaml(file: Path, code: str, missing: str, hint: str) -> Mapping[str, Any]:
    try:
        raw = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(Problem(code=code, summary=missing, where=Location(file=str(file)), hint=hint)) from None
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(_bad_yaml(f"{file}{line}", error.problem)) from None
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
