"""The project, its profile and its target are found as dbt finds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from dbt_projects import text_of, text_of_problem

from dbt_stripe_sync.dbt.project import Chosen, read_project
from dbt_stripe_sync.model.errors import ConfigError

PROJECT = "name: shop\nversion: '1.0'\nprofile: shop\n"
PROFILES = """\
shop:
  target: dev
  outputs:
    dev: {type: duckdb, path: dev.duckdb}
    prod: {type: postgres, host: "{{ env_var('PG_HOST') }}", port: "{{ env_var('PG_PORT', '5432') | as_number }}"}
other:
  outputs:
    default: {type: duckdb, path: other.duckdb}
"""


@dataclass
class Folder:
    root: Path
    home: Path

    def write(self, name: str, text: str) -> Path:
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def read(self, project_dir: Path | None = None, env: dict[str, str] | None = None, **chosen):
        return read_project(project_dir or self.root, Chosen(**chosen), env={"HOME": str(self.home)} | (env or {}))

    def problem(self, **options) -> str:
        with pytest.raises(ConfigError) as error:
            self.read(**options)
        return text_of(error.value).replace(str(self.root), "<root>").replace(str(self.home), "<home>")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    made = Folder(root=tmp_path / "shop", home=tmp_path / "home")
    made.write("dbt_project.yml", PROJECT)
    made.write("profiles.yml", PROFILES)
    return made


def test_a_project_uses_its_default_target(folder):
    project = folder.read()

    assert (project.name, project.profile, project.target_name) == ("shop", "shop", "dev")
    assert project.target == {"type": "duckdb", "path": "dev.duckdb"}
    assert (project.root, project.target_path) == (folder.root, folder.root / "target")
    assert (project.model_paths, project.settings) == (("models",), None)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"target": "prod", "env": {"PG_HOST": "db"}}, ("shop", "prod")),
        ({"env": {"DBT_TARGET": "prod", "PG_HOST": "db"}}, ("shop", "prod")),
        ({"env": {"DBT_ENGINE_TARGET": "prod", "DBT_TARGET": "none", "PG_HOST": "db"}}, ("shop", "prod")),
        ({"target": "dev", "env": {"DBT_TARGET": "prod"}}, ("shop", "dev")),
        ({"profile": "other"}, ("other", "default")),
        ({"env": {"DBT_PROFILE": "other"}}, ("other", "default")),
        ({"profile": "shop", "env": {"DBT_PROFILE": "other"}}, ("shop", "dev")),
    ],
)
def test_flags_override_the_environment_which_overrides_files(folder, options, expected):
    project = folder.read(**options)

    assert (project.profile, project.target_name) == expected


def test_a_targets_settings_are_rendered_with_their_types(folder):
    project = folder.read(target="prod", env={"PG_HOST": "db", "PG_PORT": "6000"})

    assert project.target == {"type": "postgres", "host": "db", "port": 6000}


def test_the_variables_of_another_target_need_not_be_set(folder):
    assert folder.read(target="dev").target["type"] == "duckdb"


def test_a_profile_may_contain_a_dbt_secret(folder):
    folder.write("profiles.yml", PROFILES.replace("PG_HOST", "DBT_ENV_SECRET_HOST"))

    assert folder.read(target="prod", env={"DBT_ENV_SECRET_HOST": "db"}).target["host"] == "db"


@pytest.mark.parametrize("name", ["DBT_PROFILES_DIR", "DBT_ENGINE_PROFILES_DIR"])
def test_the_profiles_folder_can_be_configured(folder, tmp_path, name):
    other = Folder(root=tmp_path / "profiles", home=folder.home)
    other.write("profiles.yml", "shop: {target: ci, outputs: {ci: {type: snowflake}}}")

    assert folder.read(env={name: str(other.root)}).target_name == "ci"
    assert folder.read(profiles_dir=other.root, env={name: str(folder.root)}).target_name == "ci"


def write_profiles_at_home(folder: Folder) -> None:
    at_home = folder.home / ".dbt" / "profiles.yml"
    at_home.parent.mkdir(parents=True)
    at_home.write_text("shop: {target: at_home, outputs: {at_home: {type: duckdb}}}")


def test_profiles_are_looked_for_here_then_at_home_as_in_dbt_and_then_in_the_project(folder):
    assert folder.read().target_name == "dev"
    write_profiles_at_home(folder)
    assert folder.read().target_name == "at_home"
    Path("profiles.yml").write_text("shop: {target: here, outputs: {here: {type: duckdb}}}")
    assert folder.read().target_name == "here"


def test_profiles_in_two_places_are_reported(folder, monkeypatch):
    write_profiles_at_home(folder)

    (warning,) = folder.read().warnings
    assert text_of_problem(warning).replace(str(folder.root), "<root>").replace(str(folder.home), "<home>") == (
        "warning[two-profiles]: the project has a profiles.yml, too; this one is used, as dbt does outside the "
        "project's folder\n  at <home>/.dbt/profiles.yml\n\n"
        "hint: if dbt has built with the project's, use that one: `--profiles-dir <root>`"
    )

    named = folder.read(profiles_dir=folder.root)
    assert (named.target_name, named.warnings) == ("dev", ())
    monkeypatch.chdir(folder.root)
    within = folder.read()
    assert (within.target_name, within.warnings) == ("dev", ())


def test_a_user_without_a_home_folder_is_told_where_profiles_can_be(folder, monkeypatch):
    folder.write("profiles.yml", PROFILES)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda user: {}[user])

    assert read_project(folder.root, Chosen(), env={}).target_name == "dev"
    (folder.root / "profiles.yml").unlink()
    with pytest.raises(ConfigError) as error:
        read_project(folder.root, Chosen(), env={})
    assert text_of(error.value).startswith("error[no-profiles]: no profiles.yml was found\n  at ~/.dbt/profiles.yml\n")
    with pytest.raises(ConfigError) as error:
        read_project(Path("~nobody-of-this-name/shop"), Chosen(), env={})
    assert text_of(error.value).startswith("error[no-project]: ")


def test_the_project_is_found_from_its_subfolders(folder, monkeypatch):
    (folder.root / "models" / "deep").mkdir(parents=True)
    monkeypatch.chdir(folder.root / "models" / "deep")

    assert folder.read(project_dir=Path()).root == folder.root


def test_the_target_folder_can_be_configured(folder):
    folder.write("dbt_project.yml", PROJECT + "target-path: \"build/{{ env_var('CI', 'local') }}\"\n")

    assert folder.read().target_path == folder.root / "build" / "local"
    assert folder.read(env={"DBT_TARGET_PATH": "/tmp/x"}).target_path == Path("/tmp/x")  # noqa: S108
    assert folder.read(env={"DBT_TARGET_PATH": "/tmp/x"}, target_path=Path("out")).target_path == folder.root / "out"  # noqa: S108


def test_settings_are_project_variables_and_the_command_line_overrides_them(folder):
    folder.write(
        "dbt_project.yml",
        PROJECT
        + "vars:\n  month: global\n  shop: {month: own, stripe_sync: {account: \"{{ env_var('ACCOUNT') }}\"}}\n",
    )

    project = folder.read(env={"ACCOUNT": "acct_1"})
    assert (project.variables["month"], project.settings) == ("own", {"account": "acct_1"})
    assert folder.read(env={"ACCOUNT": "x"}, variables="{month: asked}").variables["month"] == "asked"
    assert folder.read(env={"ACCOUNT": "x"}, variables='{"month": 3}').variables["month"] == 3
    # As in dbt, the last value of a duplicate name counts.
    assert folder.read(env={"ACCOUNT": "x"}, variables="{month: 3, month: 4}").variables["month"] == 4


def test_variables_may_be_in_vars_yml_and_dbt_project_yml_may_use_them(folder):
    folder.write("dbt_project.yml", PROJECT + "target-path: \"{{ var('place') }}\"\n")
    folder.write("vars.yml", "vars: {place: built, shop: {stripe_sync: {account: acct_1}}}\n")

    project = folder.read()
    assert (project.settings, project.settings_file) == ({"account": "acct_1"}, "vars.yml")
    assert project.target_path == folder.root / "built"
    assert folder.read(variables="{place: elsewhere}").target_path == folder.root / "elsewhere"


def test_variables_in_both_files_are_refused_as_in_dbt(folder):
    folder.write("dbt_project.yml", PROJECT + "vars: {month: 1}\n")
    folder.write("vars.yml", "vars: {stripe_sync: {account: acct_1}}\n")

    assert folder.problem() == (
        "error[bad-project]: variables are defined here and in dbt_project.yml, and dbt accepts only one of the two\n"
        "  at vars.yml: vars\n\nhint: move all of them into one file"
    )


@pytest.mark.parametrize("text", ["", "# later\n", "vars:\n", "vars: {}\n", "other: 1\n"])
def test_a_vars_yml_without_variables_changes_nothing(folder, text):
    folder.write("dbt_project.yml", PROJECT + "vars: {stripe_sync: {account: acct_1}}\n")
    folder.write("vars.yml", text)

    project = folder.read()
    assert (project.settings, project.settings_file) == ({"account": "acct_1"}, "dbt_project.yml")


def test_the_project_s_name_and_folders_are_rendered_as_in_dbt(folder):
    folder.write(
        "dbt_project.yml",
        "name: \"{{ 'shop' }}\"\nprofile: shop\n"
        "model-paths: [\"{{ env_var('MODELS', 'transform') }}\"]\n"
        'packages-install-path: "{{ target.name }}_packages"\n'
        "vars: {shop: {stripe_sync: {account: acct_1}}}\n",
    )

    project = folder.read()
    assert (project.name, project.settings) == ("shop", {"account": "acct_1"})
    assert (project.model_paths, project.property_paths[0]) == (("transform",), "transform")
    assert project.packages_path == Path("dev_packages")
    assert folder.read(env={"MODELS": "m"}).model_paths == ("m",)


def test_yaml_is_parsed_as_dbt_parses_it(folder):
    folder.write("profiles.yml", "shop: {target: dev, outputs: {dev: {type: duckdb, on_disk: yes, mode: 010}}}")

    assert folder.read().target == {"type": "duckdb", "on_disk": True, "mode": 8}


def test_a_missing_project_is_reported(folder):
    (folder.root / "dbt_project.yml").unlink()

    assert folder.problem() == (
        "error[no-project]: no dbt_project.yml was found here\n  at <root>/dbt_project.yml\n\n"
        "hint: go to your dbt project, or name it with `--project-dir`"
    )


def test_a_missing_profiles_yml_has_a_hint_in_dbt_cloud_too(folder):
    (folder.root / "profiles.yml").unlink()

    assert folder.problem() == (
        "error[no-profiles]: no profiles.yml was found\n  at <home>/.dbt/profiles.yml\n\n"
        "hint: name its folder with `--profiles-dir` or DBT_PROFILES_DIR; in dbt Cloud jobs, commit one that reads its "
        "secrets with `env_var`"
    )


def test_a_missing_profile_is_reported(folder):
    assert folder.problem(profile="shopp") == (
        "error[no-profile]: unknown profile `shopp`\n  at <root>/profiles.yml\n\n"
        "hint: available: `shop`, `other`; select one with `profile:` in dbt_project.yml or `--profile`"
    )


def test_a_project_without_a_profile_is_reported(folder):
    folder.write("dbt_project.yml", "name: shop\n")

    assert folder.problem().startswith("error[no-profile]: the project names no profile\n")


def test_a_missing_target_is_reported(folder):
    assert folder.problem(target="staging") == (
        "error[no-target]: the profile `shop` has no target `staging`\n  at <root>/profiles.yml: shop.outputs\n\n"
        "hint: available: `dev`, `prod`; select one with `--target`"
    )


def test_an_unset_environment_variable_is_reported(folder):
    assert folder.problem(target="prod") == (
        "error[no-env-var]: the environment variable PG_HOST is not set\n"
        "  at <root>/profiles.yml: shop.outputs.prod.host\n\n"
        "hint: export PG_HOST, or give it a default: {{ env_var('PG_HOST', '…') }}"
    )


def test_every_missing_variable_is_named_at_once(folder):
    folder.write("profiles.yml", PROFILES.replace("env_var('PG_PORT', '5432')", "env_var('PG_PORT')"))

    assert folder.problem(target="prod").count("error[no-env-var]") == 2


def test_a_profile_name_from_an_unset_variable_is_reported(folder):
    folder.write("dbt_project.yml", "name: shop\nprofile: \"{{ env_var('WHICH') }}\"\n")

    assert folder.problem().startswith("error[no-env-var]: the environment variable WHICH is not set\n")


def test_invalid_yaml_is_reported_with_its_line(folder):
    folder.write("dbt_project.yml", "name: shop\nprofile: [shop\nversion: 1\n")

    assert folder.problem() == (
        "error[bad-yaml]: the file is not valid YAML: expected ',' or ']', but got ':'\n"
        "  at <root>/dbt_project.yml, line 3\n\nhint: `dbt parse` shows the details"
    )


def test_a_file_in_another_encoding_is_reported(folder):
    (folder.root / "dbt_project.yml").write_bytes(PROJECT.encode() + b"# caf\xe9\n")

    assert folder.problem().startswith(
        "error[bad-yaml]: the file is not valid YAML: it is not UTF-8 text\n  at <root>/dbt_project.yml\n"
    )


@pytest.mark.parametrize("text", ["", "# none yet\n"])
def test_an_empty_selectors_yml_has_no_default(folder, text):
    folder.write("selectors.yml", text)

    assert folder.read().default_selector is None


def test_a_duplicate_name_is_reported_and_the_last_value_applies(folder):
    folder.write("dbt_project.yml", PROJECT + "vars: {a: 1}\nvars: {stripe_sync: {account: acct_1}}\n")

    project = folder.read()

    assert project.settings == {"account": "acct_1"}
    (warning,) = project.warnings
    lines = len(PROJECT.splitlines())
    assert text_of_problem(warning) == (
        "warning[duplicate-yaml-key]: this file has the same name twice; the last value counts, as in dbt\n"
        f"  at dbt_project.yml, line {lines + 2}\n\nhint: keep one of the two"
    )


def test_a_duplicate_name_in_profiles_yml_is_resolved_as_in_dbt(folder):
    folder.write("profiles.yml", "shop: {target: dev, outputs: {dev: {type: duckdb, path: a, path: b}}}\n")

    project = folder.read()

    assert (project.target["path"], project.warnings) == ("b", ())


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("true", "nightly"),
        ("false", None),
        ("\"{{ target.name == 'dev' }}\"", "nightly"),
        ("\"{{ target.name == 'x' }}\"", None),
    ],
)
def test_the_default_of_selectors_yml_is_found(folder, default, expected):
    folder.write("selectors.yml", f"selectors: [{{name: nightly, default: {default}, definition: 'tag:nightly'}}]\n")

    assert folder.read().default_selector == expected


@pytest.mark.parametrize(
    ("profiles", "place", "summary"),
    [
        ("shop: [1]", "shop", "it is not a YAML mapping"),
        ("shop: {outputs: dev}", "shop.outputs", "it is not a YAML mapping"),
        ("shop: {target: dev, outputs: {dev: duckdb}}", "shop.outputs.dev", "it is not a YAML mapping"),
        ("shop: {target: dev, outputs: {dev: {path: x}}}", "shop.outputs.dev", "it has no `type`"),
    ],
)
def test_a_profile_of_the_wrong_shape_is_reported(folder, profiles, place, summary):
    folder.write("profiles.yml", profiles)

    assert folder.problem().startswith(f"error[bad-profile]: {summary}\n  at <root>/profiles.yml: {place}\n\nhint: ")


def test_vars_of_the_wrong_shape_are_reported(folder):
    folder.write("dbt_project.yml", PROJECT + "vars: [month]\n")

    assert folder.problem().startswith("error[bad-project]: it is not a YAML mapping\n  at dbt_project.yml: vars\n")


@pytest.mark.parametrize("variables", ["month", "[1]", "{month: ", "3"])
def test_invalid_variables_are_reported(folder, variables):
    assert folder.problem(variables=variables) == (
        "error[bad-vars]: `--vars` is not a YAML mapping\n  at \n\nhint: write YAML, such as --vars '{month: 2026-01}'"
    )
