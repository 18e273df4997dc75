"""Another target's tables are never read as this one's. Projects that name their own schemas cause no false alarm."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from dbt_projects import text_of_problem

from dbt_stripe_sync.dbt.manifest import read_manifest
from dbt_stripe_sync.dbt.places import place_of
from dbt_stripe_sync.dbt.project import DbtProject
from dbt_stripe_sync.dbt.run_results import RunResults
from dbt_stripe_sync.dbt.targets import built_place, find_other_target

POSTGRES = {
    "dev": {"type": "postgres", "dbname": "gym", "schema": "dbt_ann"},
    "prod": {"type": "postgres", "dbname": "gym", "schema": "analytics"},
}
DUCKDB = {"dev": {"type": "duckdb", "path": "dev.duckdb"}, "prod": {"type": "duckdb", "path": "out/prod.duckdb"}}
NOTED = RunResults(statuses={"x": "success"}, invocation_id="first", target="dev")


@pytest.fixture
def find(manifest):
    def find(outputs, target, *built, macro=None, results=None):
        """`built` are database, schema and the custom schema that the node asks for."""
        for number, (database, schema, custom) in enumerate(built):
            config = {"materialized": "table", "schema": custom}
            manifest.model(f"m{number}", database=database, schema=schema, config=config)
        path = manifest.write()
        raw = orjson.loads(path.read_bytes())
        macros = {
            "macro.dbt.generate_schema_name",
            "macro.dbt.default__generate_schema_name",
            *([macro] if macro else []),
        }
        path.write_bytes(orjson.dumps(raw | {"macros": {name: {"name": name} for name in macros}}))
        project = DbtProject(
            root=Path("/shop"),
            name="shop",
            profile="shop",
            target_name=target,
            target=outputs[target],
            variables={},
            target_path=Path("/shop/target"),
            model_paths=("models",),
            profiles_dir=Path("/shop"),
            settings=None,
            places=tuple(place_of(name, output) for name, output in outputs.items()),
        )
        return find_other_target(project, read_manifest(path), results or RunResults())

    return find


OURS = "macro.shop.generate_schema_name"


@pytest.mark.parametrize(
    ("outputs", "built"),
    [
        (POSTGRES, [("gym", "dbt_ann", None)]),
        (POSTGRES, [("gym", "dbt_ann_marts", "marts")]),
        (POSTGRES, [("gym", "DBT_ANN", None), ("gym", "dbt_ann_marts", "marts")]),
        (DUCKDB, [("dev", "main", None)]),
    ],
)
def test_the_schema_shows_which_target_was_built(find, outputs, built):
    assert find(outputs, "dev", *built) is None
    assert find(outputs, "prod", *built).code == "other-target"


def test_the_message_names_both_targets_and_has_a_hint(find):
    assert text_of_problem(find(POSTGRES, "prod", ("gym", "dbt_ann", None))) == (
        "error[other-target]: dbt has built target `dev` (gym.dbt_ann), and this is target `prod` (gym.analytics)\n"
        "  at /shop/target/manifest.json\n\n"
        "hint: run `dbt build --target prod` first, or sync with `--target dev`; `--allow-other-target` reads what was "
        "built"
    )


def test_a_schema_that_no_target_uses_is_reported_if_the_project_keeps_dbts_schema_names(find):
    problem = find(POSTGRES, "prod", ("gym", "dbt_bob", None))

    assert problem.summary == "dbt has built the schema `dbt_bob`, and this is target `prod` (gym.analytics)"


def test_the_target_that_dbt_recorded_decides(find):
    assert find(POSTGRES, "dev", ("gym", "analytics", None), results=NOTED) is None
    assert find(POSTGRES, "prod", ("gym", "analytics", None), results=NOTED).code == "other-target"


def test_a_target_that_dbt_recorded_for_another_run_is_ignored(find):
    older = RunResults(statuses={"x": "success"}, invocation_id="older", target="dev")

    assert find(POSTGRES, "prod", ("gym", "analytics", None), results=older) is None


def test_a_target_that_this_profile_lacks_is_compared_by_its_schema(find):
    cloud = RunResults(statuses={"x": "success"}, invocation_id="first", target="default")

    assert find(POSTGRES, "prod", ("gym", "analytics", None), results=cloud) is None


def test_two_targets_with_the_same_location_are_equivalent(find):
    outputs = POSTGRES | {"nightly": POSTGRES["prod"]}
    noted = RunResults(statuses={"x": "success"}, invocation_id="first", target="nightly")

    assert find(outputs, "prod", ("gym", "analytics", None), results=noted) is None


@pytest.mark.parametrize(
    "built",
    [
        # the custom name alone in production, as dbt's own `generate_schema_name_for_env` has it
        [("gym", "marts", "marts"), ("gym", "analytics", None)],
        [("gym", "marts", "marts"), ("gym", "staging", "staging")],
        # prefixes and suffixes of any kind
        [("gym", "prod_marts", "marts")],
        [("gym", "marts__analytics", "marts")],
        # names that dbt's rule would read as a custom schema of the other target
        [("gym", "analytics_marts", "marts"), ("gym", "analytics", None)],
        # by what the model is
        [("gym", "finance", None), ("gym", "crm", None)],
    ],
)
@pytest.mark.parametrize("macro", [OURS, "macro.house_style.default__generate_schema_name"])
def test_custom_schemas_cause_no_false_alarm(find, built, macro):
    assert find(POSTGRES, "prod", *built, macro=macro) is None


@pytest.mark.parametrize("macro", [OURS, None])
def test_the_database_decides_if_both_targets_have_the_same_schemas(find, macro):
    outputs = {name: {**POSTGRES[name], "dbname": f"gym_{name}"} for name in POSTGRES}
    built = [("gym_dev", "marts", "marts"), ("GYM_DEV", "staging", "staging")]

    assert find(outputs, "dev", *built, macro=macro) is None or macro is None
    assert find(outputs, "prod", *built, macro=macro).code == "other-target"


@pytest.mark.parametrize(
    "built",
    [
        # some in a database of their own, some in one that no target names, all in one that no target names
        [("gym_prod", "marts", "marts"), ("lake", "staging", "staging")],
        [("lake", "marts", "marts"), ("attic", "staging", "staging")],
        [("lake", "marts", "marts")],
    ],
)
def test_a_database_that_no_other_target_has_causes_no_false_alarm(find, built):
    outputs = {name: {**POSTGRES[name], "dbname": f"gym_{name}"} for name in POSTGRES}
    assert find(outputs, "prod", *built, macro=OURS) is None


def test_a_custom_database_causes_no_false_alarm(find):
    outputs = {name: {**POSTGRES[name], "dbname": f"gym_{name}"} for name in POSTGRES}
    assert find(outputs, "prod", ("gym_dev", "analytics", None), macro="macro.shop.generate_database_name") is None


def test_development_in_one_schema_is_not_production_even_with_a_macro(find):
    built = [("gym", "dbt_ann", "marts"), ("gym", "dbt_ann", None)]

    assert find(POSTGRES, "dev", *built, macro=OURS) is None
    assert find(POSTGRES, "prod", *built, macro=OURS).code == "other-target"


def test_a_snapshot_with_its_own_schema_is_ignored(find, manifest):
    config = {"materialized": "snapshot", "target_schema": "analytics"}
    manifest.model("history", kind="snapshot", database="gym", schema="analytics", config=config)

    assert find(POSTGRES, "prod", ("gym", "dbt_ann", None)).code == "other-target"


@pytest.mark.parametrize(
    ("output", "database", "schema"),
    [
        ({"type": "duckdb", "path": "a/b.c.duckdb"}, "b.c", "main"),
        ({"type": "duckdb"}, "memory", "main"),
        ({"type": "duckdb", "path": "md:sales", "schema": "x"}, "sales", "x"),
        ({"type": "bigquery", "project": "p", "dataset": "d"}, "p", "d"),
        ({"type": "databricks", "catalog": "c", "schema": "s"}, "c", "s"),
        ({"type": "snowflake", "database": "D", "schema": "S"}, "D", "S"),
        ({"type": "spark", "schema": "s"}, None, "s"),
    ],
)
def test_a_targets_database_and_schema_come_from_its_profile(output, database, schema):
    place = place_of("dev", output)

    assert (place.database, place.schema) == (database, schema)


@pytest.mark.parametrize(("version", "built"), [("1.11.16", "dev"), ("2.0.0-preview.196", None), ("2.1.0", None)])
def test_an_unrecorded_target_is_the_default_in_dbt_1_and_unknown_in_dbt_2(version, built):
    project = DbtProject(
        root=Path("/shop"),
        name="shop",
        profile="shop",
        target_name="prod",
        target=POSTGRES["prod"],
        variables={},
        target_path=Path("/shop/target"),
        model_paths=("models",),
        profiles_dir=Path("/shop"),
        settings=None,
        places=tuple(place_of(name, output) for name, output in POSTGRES.items()),
        default_target="dev",
    )

    place = built_place(project, RunResults(statuses={"model.shop.x": "error"}, dbt_version=version))

    assert (place.target if place else None) == built
