"""`docs` writes exposures that dbt accepts, so that every sync is in its lineage."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from business import ROOT, run_cli
from ruamel.yaml import YAML


def parse_with(dbt, project, **environment):
    command = [str(dbt), "parse", "--target", "duckdb", "--project-dir", str(project), "--profiles-dir", str(project)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, check=False, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((project / "target" / "manifest.json").read_text())


def write_docs(project, *arguments):
    options = ["--project-dir", str(project), "--profiles-dir", str(project), "--target", "duckdb"]
    return run_cli("docs", *options, *arguments)


def test_every_sync_is_an_exposure_downstream_of_its_models(customers):
    ran = customers.cli("docs")

    raw = YAML(typ="safe", pure=True).load((customers.root / "models" / "stripe_sync_exposures.yml").read_text())
    (exposure,) = raw["exposures"]
    assert ran.exit_code == 0, ran.err
    assert exposure["name"] == "stripe_customers"
    assert exposure["depends_on"] == ["ref('customers')"]
    assert exposure["url"] == "https://dashboard.stripe.com/customers"


def test_writing_exposures_twice_changes_nothing(customers):
    customers.cli("docs")
    file = customers.root / "models" / "stripe_sync_exposures.yml"
    before = file.read_text()

    again = customers.cli("docs")

    assert "unchanged" in again.out
    assert file.read_text() == before


def test_another_file_is_not_overwritten(customers, tmp_path):
    mine = tmp_path / "mine.yml"
    mine.write_text("exposures: []\n")

    ran = customers.cli("docs", "--out", str(mine))

    assert ran.exit_code == 2
    assert "error[file-exists]" in ran.err
    assert mine.read_text() == "exposures: []\n"


def check_lineage(manifest):
    exposures = {exposure["name"]: exposure for exposure in manifest["exposures"].values()}
    assert "model.brightdesk.stripe_customers" in exposures["stripe_stripe_customers"]["depends_on"]["nodes"]
    subscriptions = exposures["stripe_stripe_subscriptions"]["depends_on"]["nodes"]
    assert "model.brightdesk.stripe_subscription_items" in subscriptions


def change_model(business, name, **keys):
    file = business.root / "target" / "manifest.json"
    raw = json.loads(file.read_text())
    raw["nodes"][f"model.shop.{name}"] |= keys
    file.write_text(json.dumps(raw))


def exposures_of(business):
    ran = business.cli("docs")
    assert ran.exit_code == 0, ran.text
    file = business.root / "models" / "stripe_sync_exposures.yml"
    return ran, YAML(typ="safe", pure=True).load(file.read_text())["exposures"]


def test_an_exposure_names_the_models_version(customers):
    change_model(customers, "customers", version=1, latest_version=2)

    _, (exposure,) = exposures_of(customers)

    assert exposure["depends_on"] == ["ref('customers', v=1)"]


def test_a_private_model_is_left_out_with_a_note(customers):
    change_model(customers, "customers", access="private")

    ran, exposures = exposures_of(customers)

    assert exposures == []
    assert (
        "warning[private-model]: the exposure of `customers` leaves out `customers`, which is private: dbt doesn't let "
        "exposures of this project refer to it" in ran.text
    )


@pytest.mark.parametrize(
    ("access", "restricted", "count"), [("protected", True, 0), ("protected", False, 1), ("public", True, 1)]
)
def test_a_protected_model_of_a_package_that_restricts_access_is_left_out(customers, access, restricted, count):
    change_model(customers, "customers", access=access, package_name="tools")
    package = customers.root / "dbt_packages" / "tools"
    package.mkdir(parents=True)
    (package / "dbt_project.yml").write_text(json.dumps({"name": "tools", "restrict-access": restricted}))

    _, exposures = exposures_of(customers)

    assert len(exposures) == count


@pytest.mark.slow
def test_dbt_1_reads_the_exposures(sample, dbt_1):
    parse_with(dbt_1, sample)

    ran = write_docs(sample)

    assert ran.exit_code == 0, ran.err
    check_lineage(parse_with(dbt_1, sample))


@pytest.mark.dbt2
def test_dbt_2_reads_the_exposures(sample, dbt_2):
    parse_with(dbt_2, sample, DBT_ALLOW_EXPERIMENTAL_ADAPTERS="true")

    ran = write_docs(sample)

    assert ran.exit_code == 0, ran.err
    check_lineage(parse_with(dbt_2, sample, DBT_ALLOW_EXPERIMENTAL_ADAPTERS="true"))
