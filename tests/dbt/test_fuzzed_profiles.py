"""Whatever dbt_project.yml, profiles.yml and selectors.yml contain is read or is a problem, never a traceback."""

from __future__ import annotations

import json

import pytest
from examples import up_to
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt_stripe_sync.dbt.project import Chosen, read_project
from dbt_stripe_sync.model.errors import ConfigError, WarehouseError
from dbt_stripe_sync.warehouse.duckdb_profile import parse_profile
from dbt_stripe_sync.warehouse.places import describe_place, patience_for
from dbt_stripe_sync.warehouse.profile_shapes import check_shapes
from dbt_stripe_sync.warehouse.requests import TimeLimits

WORDS = ["dev", "shop", "duckdb", "postgres", "x.duckdb", "md:x", "5432", "default", "path", "options", "name", "type"]
JINJA = ["{{ env_var('X', '5') | as_number }}", "{{ env_var('NONE') }}", "{{ x", "{% if %}", "{{ target.name }}"]
SETTINGS = [
    *["path", "schema", "database", "port", "retries", "connect_timeout", "settings", "config_options", "attach"],
    *["secrets", "extensions", "filesystems", "remote", "use_credential_provider", "host", "threads"],
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from([*WORDS, *JINJA])
    | st.text(max_size=4)
)
garbage = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
outputs = st.fixed_dictionaries(
    {"type": st.sampled_from(["duckdb", "postgres"]) | garbage}, optional=dict.fromkeys(SETTINGS, garbage)
)
profiles = garbage | st.fixed_dictionaries(
    {}, optional={"target": st.just("dev") | garbage, "outputs": garbage | st.fixed_dictionaries({"dev": outputs})}
)
KEYS = ["vars", "target-path", "model-paths", "seed-paths", "snapshot-paths", "packages-install-path", "name"]
projects = st.fixed_dictionaries({"profile": st.just("shop")}, optional=dict.fromkeys(KEYS, garbage))
selectors = st.fixed_dictionaries({}, optional={"selectors": garbage | st.lists(garbage, max_size=2)})


@settings(max_examples=up_to(100), deadline=None)
@given(project=projects | garbage, profile=profiles, selector=selectors)
def test_no_dbt_yaml_causes_a_traceback(tmp_path_factory, project, profile, selector):
    folder = tmp_path_factory.mktemp("shop")
    for name, content in (
        ("dbt_project.yml", project),
        ("profiles.yml", {"shop": profile}),
        ("selectors.yml", selector),
    ):
        (folder / name).write_text(json.dumps(content))
    try:
        read = read_project(folder, Chosen(profiles_dir=folder), env={})
    except ConfigError:
        return
    assert read.target["type"]


@settings(max_examples=up_to(150), deadline=None)
@given(target=outputs)
def test_no_profile_output_causes_a_traceback(tmp_path_factory, target):
    try:
        said = check_shapes("duckdb", target)
        read = parse_profile(said, tmp_path_factory.getbasetemp())
    except WarehouseError:
        return
    assert patience_for("duckdb", said, TimeLimits()).connect_seconds > 0
    assert describe_place("duckdb", said)
    assert read.connect_to


@pytest.mark.parametrize(
    ("name", "setting", "value", "expected"),
    [
        ("postgres", "retries", "many", "a whole number"),
        ("snowflake", "port", [443], "a whole number"),
        ("databricks", "session_properties", ["x"], "a mapping of names to values"),
        ("duckdb", "retries", 3, "a mapping of names to values"),
        ("duckdb", "attach", "other.duckdb", "a list of databases, each with a `path`"),
        ("duckdb", "secrets", {"type": "s3"}, "a list of mappings"),
    ],
)
def test_a_setting_of_the_wrong_shape_is_reported_with_the_expected_one(name, setting, value, expected):
    with pytest.raises(WarehouseError) as caught:
        check_shapes(name, {"type": name, setting: value})
    (problem,) = caught.value.problems
    assert (problem.code, problem.summary) == (
        "warehouse-setting",
        f"the {name} profile's `{setting}` is not {expected}",
    )


def test_recursive_yaml_is_reported(tmp_path):
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (tmp_path / "profiles.yml").write_text("shop:\n  outputs:\n    default: &me {type: duckdb, path: x, again: *me}\n")
    with pytest.raises(ConfigError) as caught:
        read_project(tmp_path, Chosen(profiles_dir=tmp_path), env={})
    assert {problem.code for problem in caught.value.problems} == {"bad-yaml"}
