"""Reads dbt_project.yml and profiles.yml as dbt does: the project, its target and its settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from ruamel.yaml.error import YAMLError

from dbt_stripe_sync.dbt.places import PLACE_KEYS, Place, place_of
from dbt_stripe_sync.dbt.rendering import Renderer
from dbt_stripe_sync.dbt.yaml_files import named_twice, parse_yaml, read_optional, read_yaml
from dbt_stripe_sync.model.errors import ConfigError, Location, Problem, Severity
from dbt_stripe_sync.model.home import with_home

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROJECT_FILE = "dbt_project.yml"
PROFILES_FILE = "profiles.yml"
SELECTORS_FILE = "selectors.yml"
# docs.getdbt.com/docs/build/project-variables: dbt 1.12 and dbt 2 read it before dbt_project.yml.
VARS_FILE = "vars.yml"
_PATH_LISTS = ("model-paths", "seed-paths", "snapshot-paths", "macro-paths")


class DbtProject(Struct, frozen=True, kw_only=True):
    """A dbt project with the target of a run.

    `target` holds the profile output's settings, rendered, with its `type`. `settings` is `vars.stripe_sync`, of the
    file `settings_file`. `places` says where each target of the profile builds, as far as it can be rendered here.
    `default_target` is the profile's, None if it can't be rendered. `default_selector` is the one in selectors.yml that
    dbt uses without a selection.
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
    settings_file: str = PROJECT_FILE
    places: tuple[Place, ...] = ()
    default_target: str | None = None
    property_paths: tuple[str, ...] = ("models",)
    seed_paths: tuple[str, ...] = ("seeds",)
    packages_path: Path = Path("dbt_packages")
    default_selector: str | None = None
    warnings: tuple[Problem, ...] = ()

    @property
    def place(self) -> Place:
        """Where the target builds."""
        return next(place for place in self.places if place.target == self.target_name)

    @property
    def restricted_packages(self) -> frozenset[str]:
        """The installed packages whose protected models only they may use."""
        files = (self.root / self.packages_path).glob(f"*/{PROJECT_FILE}")
        projects = [parse_yaml(file.read_text(encoding="utf-8"))[0] for file in files]
        return frozenset(
            str(raw.get("name")) for raw in projects if isinstance(raw, dict) and raw.get("restrict-access") is True
        )


class Chosen(Struct, frozen=True, kw_only=True):
    """The project options of the command line; None if not given."""

    profiles_dir: Path | None = None
    profile: str | None = None
    target: str | None = None
    target_path: Path | None = None
    variables: str | None = None
    state: Path | None = None
    defer: bool = False


def read_project(project_dir: Path, chosen: Chosen, *, env: Mapping[str, str] | None = None) -> DbtProject:
    """The project in a folder, with its target. Raises `ConfigError` with every problem."""
    env = os.environ if env is None else env
    root = _find_root(project_dir)
    raw, twice = read_yaml(
        root / PROJECT_FILE,
        "no-project",
        f"no {PROJECT_FILE} was found here",
        "go to your dbt project, or name it with `--project-dir`",
    )
    declared, declared_in = read_variables(root, raw)
    overrides = _parse_variables(chosen.variables)
    renderer = Renderer(env=env, variables={**declared, **overrides})
    where = Location(file=PROJECT_FILE)
    name = str(renderer.render(raw.get("name"), where.at_field("name")) or "")
    renderer.variables = variables = {**declared, **scoped_to(declared, name), **overrides}
    profile_name = (
        chosen.profile or dbt_variable(env, "PROFILE") or renderer.render(raw.get("profile"), where.at_field("profile"))
    )
    if renderer.problems:
        raise ConfigError(renderer.problems)
    folder, folder_doubts = _profiles_dir(root, chosen.profiles_dir, env)
    read = _read_target(folder, str(profile_name or ""), chosen, env, renderer)
    renderer.context["target"] = {**read.settings, "name": read.name, "target_name": read.name}
    named = chosen.target_path or dbt_variable(env, "TARGET_PATH")
    target_path = named or renderer.render(raw.get("target-path"), where.at_field("target-path"))
    packages_path = renderer.render(raw.get("packages-install-path"), where.at_field("packages-install-path"))
    paths = {key: _paths(renderer.render(raw.get(key), where.at_field(key)), key) for key in _PATH_LISTS}
    settings = renderer.render(variables.get("stripe_sync"), Location(file=declared_in, field="vars.stripe_sync"))
    default_selector = _find_default_selector(root / SELECTORS_FILE, renderer)
    if renderer.problems:
        raise ConfigError(renderer.problems)
    return DbtProject(
        root=root,
        name=name,
        profile=str(profile_name),
        target_name=read.name,
        target=read.settings,
        variables=variables,
        target_path=root / str(target_path or "target"),
        model_paths=paths["model-paths"],
        profiles_dir=folder,
        settings=settings,
        settings_file=declared_in,
        places=read.places,
        default_target=read.default,
        property_paths=tuple(path for key in _PATH_LISTS for path in paths[key]),
        seed_paths=paths["seed-paths"],
        default_selector=default_selector,
        packages_path=Path(str(packages_path or "dbt_packages")),
        # dbt warns about duplicate names in this file, but not in profiles.yml.
        warnings=(*(named_twice(PROJECT_FILE, line) for line in twice), *folder_doubts),
    )


def read_variables(root: Path, raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The variables that a project declares, and the name of the file with them. Raises `ConfigError`."""
    declared = _as_names(raw.get("vars"), Location(file=PROJECT_FILE, field="vars"), "bad-project")
    file = root / VARS_FILE
    if not file.is_file():
        return declared, PROJECT_FILE
    own = _as_names(read_optional(file).get("vars"), Location(file=VARS_FILE, field="vars"), "bad-project")
    if own and declared:
        where = Location(file=VARS_FILE, field="vars")
        summary = f"variables are defined here and in {PROJECT_FILE}, and dbt accepts only one of the two"
        raise ConfigError(_bad_shape(where, "bad-project", summary, "move all of them into one file"))
    return (own, VARS_FILE) if own else (declared, PROJECT_FILE)


def _paths(named: Any, key: str) -> tuple[str, ...]:
    """The folders that dbt_project.yml names, or dbt's default. Raises `ConfigError`."""
    named = named or [key.replace("-paths", "s")]
    if not isinstance(named, list):
        where = Location(file=PROJECT_FILE, field=key)
        raise ConfigError(_bad_shape(where, "bad-project", "it is not a list", f"write `{key}: [folder]`"))
    return tuple(str(path) for path in named)


def _find_default_selector(file: Path, renderer: Renderer) -> str | None:
    """docs.getdbt.com/reference/node-selection/yaml-selectors: one may say `default: true`, or an expression."""
    if not file.is_file():
        return None
    entries = read_optional(file).get("selectors")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and "default" in entry:
            where = Location(file=SELECTORS_FILE, field=f"{entry.get('name')}.default")
            if str(renderer.render(entry["default"], where)).lower() == "true":
                return str(entry.get("name"))
    return None


def _find_root(project_dir: Path) -> Path:
    """The folder itself; if none is given, the nearest one upwards with a project, as in dbt."""
    here = with_home(project_dir).resolve()
    if project_dir != Path():
        return here
    return next((folder for folder in (here, *here.parents) if (folder / PROJECT_FILE).is_file()), here)


def dbt_variable(env: Mapping[str, str], name: str) -> str | None:
    """The environment variable of a dbt option: dbt 1.11 and later read DBT_ENGINE_X before DBT_X."""
    return env.get(f"DBT_ENGINE_{name}") or env.get(f"DBT_{name}")


def _profiles_dir(root: Path, chosen: Path | None, env: Mapping[str, str]) -> tuple[Path, tuple[Problem, ...]]:
    """The folder of profiles.yml, and doubts about it.

    docs.getdbt.com/docs/core/connect-data-platform/profiles.yml: the flag, the variable, here, then home. dbt never
    looks into the project's folder unless it runs there; we do if there is no other.
    """
    named = chosen or dbt_variable(env, "PROFILES_DIR")
    if named:
        return with_home(named).resolve(), ()
    here, home = Path.cwd(), Path(env["HOME"] if env.get("HOME") else with_home("~")) / ".dbt"
    is_in_project = (root / PROFILES_FILE).is_file()
    if (here / PROFILES_FILE).is_file():
        return here, ()
    if (home / PROFILES_FILE).is_file():
        return home, (_two_profiles(root, home),) if is_in_project else ()
    return (root if is_in_project else home), ()


def _two_profiles(root: Path, used: Path) -> Problem:
    return Problem(
        code="two-profiles",
        summary=f"the project has a {PROFILES_FILE}, too; this one is used, as dbt does outside the project's folder",
        where=Location(file=str(used / PROFILES_FILE)),
        hint=f"if dbt has built with the project's, use that one: `--profiles-dir {root}`",
        severity=Severity.WARNING,
    )


class _Target(Struct, frozen=True, kw_only=True):
    """A target of a profile, and the profile's other targets."""

    name: str
    settings: Mapping[str, Any]
    places: tuple[Place, ...]
    default: str | None


def _read_target(
    folder: Path, profile_name: str, chosen: Chosen, env: Mapping[str, str], renderer: Renderer
) -> _Target:
    file = folder / PROFILES_FILE
    raw, _ = read_yaml(
        file,
        "no-profiles",
        f"no {PROFILES_FILE} was found",
        "name its folder with `--profiles-dir` or DBT_PROFILES_DIR; in dbt Cloud jobs, commit one that reads its "
        "secrets with `env_var`",
    )
    where = Location(file=str(file))
    if profile_name not in raw:
        known = _listed(name for name in raw if name != "config")
        raise ConfigError(
            Problem(
                code="no-profile",
                summary=f"unknown profile `{profile_name}`" if profile_name else "the project names no profile",
                where=where,
                hint=f"available: {known}; select one with `profile:` in {PROJECT_FILE} or `--profile`",
            )
        )
    at = where.at_field(profile_name)
    profile = _as_names(raw[profile_name], at, "bad-profile")
    outputs = _as_names(profile.get("outputs"), at.at_field("outputs"), "bad-profile")
    named = (
        chosen.target or dbt_variable(env, "TARGET") or renderer.render(profile.get("target"), at.at_field("target"))
    )
    if renderer.problems:
        raise ConfigError(renderer.problems)
    target_name = str(named or "default")
    if target_name not in outputs:
        raise ConfigError(
            Problem(
                code="no-target",
                summary=f"the profile `{profile_name}` has no target `{target_name}`",
                where=at.at_field("outputs"),
                hint=f"available: {_listed(outputs)}; select one with `--target`",
            )
        )
    at = at.at_field("outputs", target_name)
    rendered = renderer.render(_as_names(outputs[target_name], at, "bad-profile"), at)
    if renderer.problems:
        raise ConfigError(renderer.problems)
    if not rendered.get("type"):
        raise ConfigError(_bad_shape(at, "bad-profile", "it has no `type`", "name the warehouse: `type: postgres`"))
    # Another target that can't be rendered is not a problem for this one.
    others = Renderer(env=env, variables=renderer.variables)
    default = others.render(profile.get("target") or "default", at)
    return _Target(
        name=target_name,
        settings=rendered,
        places=tuple(
            _place_of(str(name), output, others, at) for name, output in outputs.items() if isinstance(output, dict)
        ),
        default=None if default is None else str(default),
    )


def _place_of(target: str, output: Mapping[str, Any], renderer: Renderer, where: Location) -> Place:
    rendered = {key: renderer.render(output.get(key), where) for key in PLACE_KEYS}
    hidden = [key for key, value in rendered.items() if value is None and output.get(key) is not None]
    return place_of(target, rendered, hidden=hidden)


def _listed(names: Iterable[Any]) -> str:
    """Names for a hint."""
    return ", ".join(f"`{name}`" for name in names) or "none"


def _as_names(value: Any, where: Location, code: str) -> Mapping[str, Any]:
    """A part of the YAML that must be a mapping; nothing counts as an empty one. Raises `ConfigError`."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(_bad_shape(where, code, "it is not a YAML mapping", "write `name: value` lines below it"))
    return value


def _bad_shape(where: Location, code: str, summary: str, hint: str) -> Problem:
    return Problem(code=code, summary=summary, where=where, hint=hint)


def _parse_variables(text: str | None) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        value, _ = parse_yaml(text)
    except YAMLError:
        value = None
    if not isinstance(value, dict):
        raise ConfigError(
            Problem(
                code="bad-vars",
                summary="`--vars` is not a YAML mapping",
                hint="write YAML, such as --vars '{month: 2026-01}'",
            )
        )
    return value


def scoped_to(declared: Mapping[str, Any], project: str) -> Mapping[str, Any]:
    """Variables that dbt_project.yml declares for this project only, under its name."""
    own = declared.get(project)
    return own if isinstance(own, dict) else {}
