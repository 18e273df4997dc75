"""Cases that people reported about their own projects, each from its first `dbt` command, with either engine."""

from __future__ import annotations

import json
import shutil
import time

import pytest

pytestmark = pytest.mark.timeout(900)

PROFILES = {"club": {"target": "dev", "outputs": {"dev": {"type": "duckdb", "path": "warehouse.duckdb"}}}}
PROJECT = {"name": "club", "version": "1.0", "profile": "club", "models": {"+materialized": "table"}}
SYNC = {"resource": "product", "key": "id", "fields": {"name": "name"}}
ROWS = "select 1 as id, 'Ann' as name"


@pytest.fixture
def project(dbt_user):
    """A project that is only written, with `write` for its files and `dbt` for what has to succeed."""
    write(dbt_user, "profiles.yml", json.dumps(PROFILES))
    write(dbt_user, "dbt_project.yml", json.dumps(PROJECT))
    return dbt_user


@pytest.fixture(scope="module")
def parsed_by(tmp_path_factory):
    """A project of one model, parsed once by each engine that is asked for."""
    roots = {}

    def parse(project):
        if project.engine not in roots:
            root = tmp_path_factory.mktemp("parsed") / "club"
            write(project, "models/m.sql", ROWS)
            properties(project, models=[tagged("m")])
            dbt(project, "parse")
            roots[project.engine] = shutil.copytree(project.root, root)
        return roots[project.engine]

    return parse


@pytest.fixture
def parsed(project, parsed_by):
    """That project, to be changed at will."""
    shutil.copytree(parsed_by(project), project.root, dirs_exist_ok=True)
    return project


def write(user, path, text):
    file = user.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def properties(user, **sections):
    write(user, "models/schema.yml", json.dumps({"version": 2, **sections}))


def tagged(name, **keys):
    config = {"meta": {"stripe_sync": {"name": f"{name}_sync", **SYNC}}} | keys.pop("config", {})
    return {"name": name, "config": config, **keys}


def dbt(user, *arguments, code=0):
    ended, said = user.run_dbt(*arguments)
    assert ended == code, said
    return said


def listed(user, *arguments):
    """The syncs that `ls` names."""
    ran = user.cli("ls", "--output", "json", *arguments)
    assert ran.exit_code == 0, ran.text
    return [json.loads(line)["sync"] for line in ran.out.splitlines()]


def test_a_source_tag_selects_and_excludes_the_descendants_of_the_source(project):
    write(project, "models/m.sql", "select 1 as id, 'a' as name from {{ source('raw', 't') }}")
    source = {"name": "raw", "schema": "main", "config": {"tags": ["pii"]}, "tables": [{"name": "t"}]}
    exposure = {"name": "dash", "type": "dashboard", "owner": {"email": "a@example.com"}, "depends_on": ["ref('m')"]}
    properties(project, models=[tagged("m")], sources=[source], exposures=[exposure])
    dbt(project, "parse")

    assert listed(project, "--select", "tag:pii+") == ["m_sync"]
    assert listed(project, "--select", "+dash") == ["m_sync"]
    assert listed(project, "--exclude", "tag:pii+") == []


@pytest.mark.parametrize(
    "environment",
    [
        {"DBT_LOG_FORMAT": "json"},
        {"DBT_RESOURCE_TYPES": "test"},
        {"DBT_EXCLUDE_RESOURCE_TYPES": "test model"},
        {"DBT_LOG_LEVEL": "error"},
        {"DBT_PRINT": "0"},
        {"DBT_INDIRECT_SELECTION": "empty"},
        {},
    ],
    ids=lambda environment: next(iter(environment), "flags"),
)
def test_excluded_models_stay_excluded_whatever_is_set_for_dbt(parsed, environment, monkeypatch):
    project = parsed
    flags = {} if environment else {"flags": {"log_format": "json", "log_level": "error", "printer_width": 20}}
    write(project, "dbt_project.yml", json.dumps(PROJECT | flags))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    # The first is answered from the manifest by either engine, and the second by none.
    assert listed(project, "--exclude", "config.materialized:table") == []
    assert listed(project, "--exclude", "path:models/*.sql,path:models/m.*") == []


def test_selectors_yml_selects_the_same_models_as_in_dbt(parsed):
    """Inherited, with an exclusion, and by default."""
    without_m = {"union": [{"method": "selector", "value": "tables"}, {"exclude": [{"method": "fqn", "value": "m"}]}]}
    selectors = [
        {"name": "tables", "definition": {"method": "config.materialized", "value": "table"}},
        {"name": "without_m", "definition": without_m},
        {"name": "nightly", "default": "{{ target.name == 'dev' }}", "definition": "models/n*"},
    ]
    write(parsed, "selectors.yml", json.dumps({"selectors": selectors}))

    assert listed(parsed, "--selector", "tables") == ["m_sync"]
    assert listed(parsed, "--selector", "without_m") == []
    assert listed(parsed) == []
    assert listed(parsed, "--select", "m") == ["m_sync"]


@pytest.mark.parametrize("severity", ["error", "warn"])
def test_a_failed_test_that_stores_its_failures_holds_its_model(project, severity):
    """With `--warn-error` a warning is a failure, too; this dbt 2 does not have that option yet, and says so."""
    write(project, "models/m.sql", ROWS)
    config = {"store_failures": True, "severity": severity}
    accepted = {"accepted_values": {"arguments": {"values": ["Bob"]}, "config": config}}
    properties(project, models=[tagged("m", columns=[{"name": "name", "data_tests": [accepted]}])])
    is_failure = severity == "error" or project.engine == "1"
    dbt(project, "build", *(["--warn-error"] if severity == "warn" else []), code=1 if is_failure else 0)

    ran = project.cli("run")

    assert ran.exit_code == (1 if is_failure else 0)
    if not is_failure:
        return
    assert "nothing is sent for `m_sync`: the test `accepted_values_m_name__Bob` failed in dbt's last run" in ran.text
    assert project.stripe.count("product") == 0


@pytest.mark.parametrize("command", [["docs", "generate"], ["compile"], ["show", "--select", "m"]], ids=" ".join)
def test_a_command_that_builds_nothing_lifts_no_hold(project, command):
    write(project, "models/m.sql", ROWS)
    accepted = {"accepted_values": {"arguments": {"values": ["Bob"]}}}
    properties(project, models=[tagged("m", columns=[{"name": "name", "data_tests": [accepted]}])])
    dbt(project, "build", code=1)
    before = project.cli("plan")
    project.run_dbt(*command)

    after = project.cli("run")

    assert "held back: the test `accepted_values_m_name__Bob` failed in dbt's last run" in before.text
    assert after.exit_code == 1
    assert "the test `accepted_values_m_name__Bob` failed" in after.text
    assert project.stripe.count("product") == 0


def test_a_test_result_overwritten_before_any_sync_saw_it_is_reported(project):
    write(project, "models/m.sql", ROWS)
    accepted = {"accepted_values": {"name": "only_ann", "arguments": {"values": ["{{ var('only', 'Ann') }}"]}}}
    properties(project, models=[tagged("m", columns=[{"name": "name", "data_tests": [accepted]}])])
    dbt(project, "build")
    before = project.cli("plan")
    time.sleep(1.5)  # dbt's own note of the time and that of the file may differ
    dbt(project, "test", "--vars", "{only: Bob}", code=1)
    dbt(project, "compile")

    after = project.cli("plan")

    assert "no-test-results" not in before.text
    assert "warning[no-test-results]: dbt has run the test `only_ann" in after.text


def test_after_docs_dbt_can_still_parse_the_project(project):
    write(project, "models/m.sql", ROWS)
    group = {"name": "money", "owner": {"email": "a@example.com"}}
    properties(project, groups=[group], models=[tagged("m", config={"group": "money", "access": "private"})])
    dbt(project, "parse")
    ran = project.cli("docs")

    assert ran.exit_code == 0, ran.text
    assert "warning[private-model]: the exposure of `m_sync` leaves out `m`, which is private" in ran.text
    dbt(project, "parse")


def test_a_sync_of_an_older_version_is_exposed_as_that_version(project):
    for version in (1, 2):
        write(project, f"models/dim_v{version}.sql", ROWS)
    meta = {"meta": {"stripe_sync": {"name": "old", **SYNC}}}
    versions = [{"v": 1, "config": meta}, {"v": 2}]
    properties(project, models=[{"name": "dim", "latest_version": 2, "versions": versions}])
    dbt(project, "parse")

    ran = project.cli("docs")

    assert ran.exit_code == 0, ran.text
    assert "ref('dim', v=1)" in (project.root / "models" / "stripe_sync_exposures.yml").read_text()
    dbt(project, "parse")
    assert "dim.v1" in dbt(project, "ls", "--select", "+exposure:stripe_old")


def test_a_sync_of_a_versioned_model_means_its_latest_version(project):
    for version in (1, 2):
        write(project, f"models/dim_v{version}.sql", f"select {version} as id, 'v{version}' as name")
    model = tagged("dim", latest_version=2, versions=[{"v": 1}, {"v": 2}])
    properties(project, models=[model])
    dbt(project, "build")

    ran = project.cli("run")

    assert ran.exit_code == 0, ran.text
    assert [product["name"] for product in project.stripe.objects("product")] == ["v2"]


def test_a_duplicate_name_in_dbt_project_yml_is_resolved_as_in_dbt(project):
    write(project, "models/m.sql", ROWS)
    properties(project, models=[tagged("m")])
    write(project, "dbt_project.yml", "name: club\nprofile: club\nversion: '1.0'\nvars: {a: 1}\nvars: {b: 2}\n")
    if project.engine == "2":
        assert "Duplicate key `vars`" in dbt(project, "parse", code=1)
        return
    profile = "club:\n  target: no\n  target: dev\n  outputs: {dev: {type: duckdb, path: w.duckdb}}\n"
    write(project, "profiles.yml", profile)
    dbt(project, "parse")

    ran = project.cli("parse")

    assert ran.exit_code == 0, ran.text
    assert "warning[duplicate-yaml-key]" in ran.text
    assert "dbt_project.yml, line 5" in ran.text


PEOPLE = """
select 1 as id, '{{ var('plan', 'basic') }}' as plan, timestamp '{{ var('at', '2026-01-01') }}' as updated_at
{% if not var('without_two', false) %} union all select 2, 'pro', timestamp '2026-01-01' {% endif %}
"""


@pytest.mark.parametrize("hard_deletes", [pytest.param("invalidate", marks=pytest.mark.long), "new_record"])
def test_a_snapshot_by_timestamp_is_its_current_rows(project, hard_deletes):
    write(project, "models/people.sql", PEOPLE)
    fields = {"metadata.plan": "plan"}
    sync = {"resource": "customer", "key": "id", "fields": fields, "on_removed": "delete"}
    config = {"strategy": "timestamp", "unique_key": "id", "updated_at": "updated_at", "hard_deletes": hard_deletes}
    snapshot = {"name": "history", "relation": "ref('people')", "config": config | {"meta": {"stripe_sync": sync}}}
    properties(project, snapshots=[snapshot])
    plans = []

    for variables in ("{}", "{without_two: true}", "{without_two: true, plan: team, at: '2026-05-01'}", "{plan: max}"):
        project.run_dbt("build", "--vars", variables)
        ran = project.cli("run", "--yes")
        assert ran.exit_code == 0, ran.text
        plans.append(sorted(customer["metadata"]["plan"] for customer in project.stripe.objects("customer")))

    # In the last one, row 1 is older than what the snapshot holds of it, and row 2 is back.
    assert plans == [["basic", "pro"], ["basic"], ["team"], ["pro", "team"]]


def test_a_missing_adapter_is_reported_with_the_command_to_install_it(project):
    write(project, "models/m.sql", ROWS)
    properties(project, models=[tagged("m")])
    dbt(project, "build")
    profile = {"type": "trino", "host": "127.0.0.1", "port": 1, "user": "me", "database": "warehouse", "schema": "main"}
    write(project, "profiles.yml", json.dumps({"club": {"target": "dev", "outputs": {"dev": profile}}}))

    ran = project.cli("show", "m_sync")

    assert ran.exit_code == 2
    assert "error[no-reader]: dbt's adapter for a profile of type `trino` is not installed" in ran.text
    assert "hint: pip install dbt-trino" in ran.text
    assert "Runtime Error" not in ran.text


def test_run_build_needs_no_earlier_dbt_command(project):
    write(project, "models/m.sql", ROWS)
    properties(project, models=[tagged("m")])

    ran = project.cli("run", "--build")

    assert ran.exit_code == 0, ran.text
    assert project.stripe.count("product") == 1


def test_run_build_builds_models_that_were_tagged_since_dbt_read_the_project(parsed):
    write(parsed, "models/n.sql", ROWS.replace("Ann", "Bob"))
    properties(parsed, models=[tagged("m"), tagged("n")])

    ran = parsed.cli("run", "--build")

    assert ran.exit_code == 0, ran.text
    assert {product["name"] for product in parsed.stripe.objects("product")} == {"Ann", "Bob"}


def test_run_build_says_so_if_dbt_is_told_to_write_no_manifest(project, monkeypatch):
    monkeypatch.setenv("DBT_WRITE_JSON", "false")
    write(project, "models/m.sql", ROWS)
    properties(project, models=[tagged("m")])

    ran = project.cli("run", "--build")

    assert ran.exit_code == 2
    assert "error[no-manifest]: dbt has parsed the project, and wrote no manifest" in ran.text
    assert "hint: unset DBT_WRITE_JSON" in ran.text


@pytest.mark.parametrize("dbt_user", [pytest.param("1", marks=pytest.mark.slow)], indirect=True)
def test_results_in_a_rendered_target_path_are_remembered(project):
    """dbt 2 has no `target-path` in dbt_project.yml, and no plugins."""
    path = "{{ env_var('SUFFIX', 'out') }}-{{ var('kind') }}"
    write(project, "dbt_project.yml", json.dumps({**PROJECT, "target-path": path}))
    write(project, "models/m.sql", "select cast('x' || 'y' as int) as id, 'Ann' as name")
    properties(project, models=[tagged("m")])
    variables = ("--vars", "{kind: dev}")

    built, _ = project.run_dbt("build", *variables, plugin="1")
    compiled, said = project.run_dbt("compile", *variables, plugin="1")
    ran = project.cli("run", *variables)

    assert (built, compiled) == (1, 0), said
    assert (project.root / "out-dev" / "run_results.json").is_file()
    assert ran.exit_code == 1, ran.text
    assert "error[model-held]" in ran.text


@pytest.mark.parametrize("dbt_user", [pytest.param("1", marks=pytest.mark.slow)], indirect=True)
def test_results_in_a_target_path_with_a_variable_of_vars_yml_are_remembered(project):
    """dbt 1.12 reads vars.yml before dbt_project.yml; earlier versions don't read it."""
    write(project, "dbt_project.yml", json.dumps({**PROJECT, "target-path": "out-{{ var('kind', 'old') }}"}))
    write(project, "vars.yml", "vars: {kind: dev}\n")
    write(project, "models/m.sql", "select cast('x' || 'y' as int) as id, 'Ann' as name")
    properties(project, models=[tagged("m")])

    built, _ = project.run_dbt("build", plugin="1")
    if (project.root / "out-old").exists():
        pytest.skip("this dbt doesn't read vars.yml; DBT_STRIPE_SYNC_TEST_DBT1 can name dbt 1.12")
    compiled, said = project.run_dbt("compile", plugin="1")
    ran = project.cli("run")

    assert (built, compiled) == (1, 0), said
    assert (project.root / "out-dev" / "run_results.json").is_file()
    assert ran.exit_code == 1, ran.text
    assert "error[model-held]" in ran.text


@pytest.mark.parametrize("dbt_user", ["1"], indirect=True)
@pytest.mark.parametrize(
    ("variable", "types"),
    [("DBT_RESOURCE_TYPES", "test"), pytest.param("DBT_EXCLUDE_RESOURCE_TYPES", "model", marks=pytest.mark.slow)],
)
def test_run_build_holds_back_a_model_that_dbt_leaves_out(project, variable, types, monkeypatch):
    """dbt 2 builds the model in spite of these variables."""
    write(project, "models/m.sql", ROWS)
    properties(project, models=[tagged("m")])
    dbt(project, "build")
    write(project, "models/m.sql", ROWS.replace("Ann", "Bob"))
    monkeypatch.setenv(variable, types)

    ran = project.cli("run", "--build")

    assert ran.exit_code == 1
    assert "error[model-held]: nothing is sent for `m_sync`: `dbt build` left `m` out" in ran.text
    assert f"({variable} is set), so its rows may be old" in ran.text
    assert project.stripe.count("product") == 0
    monkeypatch.delenv(variable)
    again = project.cli("run", "--build")
    assert again.exit_code == 0, again.text
    assert [product["name"] for product in project.stripe.objects("product")] == ["Bob"]
