"""No dead ends when files are written: following the hints of `init` and `docs` leads to a valid sync."""

from __future__ import annotations

import json

import pytest
from business import run_cli
from ruamel.yaml import YAML

COLUMNS = "member int, home int, email text"


@pytest.fixture
def people(business):
    (business.root / "models").mkdir()
    business.rows("people", (1, 2, "a@example.com"), columns=COLUMNS)
    return business


def schema(business, text):
    (business.root / "models" / "schema.yml").write_text(text)


def init(business, *arguments):
    return business.cli("init", "people", "--resource", "customer", *arguments)


def refused(ran, code):
    assert (ran.exit_code, f"error[{code}]" in ran.text, "hint:" in ran.text) == (2, True, True), ran.text


def check_that_it_is_synced(business):
    """dbt would read the YAML into its manifest."""
    nodes = YAML(typ="safe", pure=True).load((business.root / "models" / "schema.yml").read_text())["models"]
    (node,) = (node for node in nodes if node["name"] == "people")
    syncs = node["config"]["meta"]["stripe_sync"]
    business.models["people"]["meta"] = {"stripe_sync": syncs}
    business.write_manifest()
    ran = business.cli()
    assert ran.exit_code == 0, ran.text
    return syncs


@pytest.mark.parametrize("command", [("schema",), ("docs",)])
def test_a_file_that_cannot_be_written_is_written_elsewhere(people, command):
    (people.root / "models" / "file").write_text("no folder")
    blocked, free = people.root / "models" / "file" / "out.yml", people.root / "models" / "out.yml"
    run = run_cli if command == ("schema",) else people.cli
    refused(run(*command, "--out", str(blocked)), "file-unusable")

    assert run(*command, "--out", str(free)).exit_code == 0
    assert free.is_file()


def test_a_key_that_cannot_be_determined_is_asked_for(people):
    schema(people, "models:\n  - name: people\n")
    refused(init(people), "no-row-key")

    assert init(people, "--key", "member").exit_code == 0

    assert check_that_it_is_synced(people)["key"] == "member"


def test_flow_style_yaml_works_once_written_in_block_style(people):
    schema(people, "models:\n  - {name: people, config: {meta: {owner: x}}}\n")
    refused(init(people, "--key", "member"), "flow-yaml")

    schema(people, "models:\n  - name: people\n    config:\n      meta:\n        owner: x\n")
    assert init(people, "--key", "member").exit_code == 0

    check_that_it_is_synced(people)


def test_a_second_sync_is_added_by_hand_with_names_for_both(people):
    schema(people, "models:\n  - name: people\n")
    assert init(people, "--key", "member").exit_code == 0
    first = check_that_it_is_synced(people)
    refused(init(people, "--key", "member"), "already-synced")

    second = {"name": "twins", "resource": "product", "key": "member", "fields": {"name": "email"}}
    written = {"models": [{"name": "people", "config": {"meta": {"stripe_sync": [{**first, "name": "one"}, second]}}}]}
    schema(people, json.dumps(written))
    people.cli("state", "mv", "people", "one")

    check_that_it_is_synced(people)


def test_a_model_that_is_not_in_its_file_is_found_once_dbt_has_read_it(people):
    schema(people, "models:\n  - name: others\n")
    refused(init(people, "--key", "member"), "model-not-in-file")

    schema(people, "models:\n  - name: others\n  - name: people\n")
    assert init(people, "--key", "member").exit_code == 0

    check_that_it_is_synced(people)


def test_a_package_model_is_synced_through_a_model_of_the_project(people):
    schema(people, "models:\n  - name: people\n")
    file = people.root / "target" / "manifest.json"
    raw = json.loads(file.read_text())
    raw["nodes"]["model.shop.people"]["package_name"] = "crm"
    file.write_text(json.dumps(raw))
    refused(init(people, "--key", "member"), "foreign-model")

    people.write_manifest()
    assert init(people, "--key", "member").exit_code == 0

    check_that_it_is_synced(people)


def test_the_exposures_are_written_to_another_file(customers, tmp_path):
    mine = tmp_path / "mine.yml"
    mine.write_text("exposures: []\n")
    refused(customers.cli("docs", "--out", str(mine)), "file-exists")

    assert customers.cli("docs", "--out", str(tmp_path / "other.yml")).exit_code == 0
