"""The operator in a real Airflow, 2 and 3: `dag.test()` with its database and, where it defers, its trigger."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.orchestrators, pytest.mark.filterwarnings("default")]
if importlib.util.find_spec("airflow") is None:
    pytest.skip("Airflow is not in this environment", allow_module_level=True)

# Airflow reads these when it is imported.
HOME = tempfile.mkdtemp(prefix="airflow-")
os.environ["AIRFLOW_HOME"] = HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(Path(HOME) / "dags")
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
from dbt_cloud_server import ACCOUNT, RUNNING, SUCCESS, TOKEN, DbtCloud, Run, dbt, first_steps  # noqa: E402 - after what Airflow reads

IS_AIRFLOW_3 = importlib.util.find_spec("airflow.sdk") is not None


@pytest.fixture(scope="module", autouse=True)
def _database():
    Path(HOME, "dags").mkdir()
    airflow = Path(sys.executable).parent / "airflow"
    done = subprocess.run([str(airflow), "db", "migrate"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


DAG = """
from datetime import datetime, timezone
from {home} import DAG
from dbt_stripe_sync.integrations.airflow import StripeSyncOperator
with DAG(dag_id={name!r}, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)) as dag:
    StripeSyncOperator(task_id="sync", **{arguments!r})
"""
HOME_OF_DAG = "airflow.sdk" if IS_AIRFLOW_3 else "airflow"


@pytest.fixture
def run_task(customers):
    """Runs a DAG with the operator alone, for the customers; gives the task's state and what it returned."""

    def run(name, **arguments):
        project = {"project_dir": str(customers.root), "profiles_dir": str(customers.root)}
        arguments = {**project, "stripe_url": customers.stripe.url, **arguments}
        return run_dag(name, DAG.format(home=HOME_OF_DAG, name=name, arguments=arguments))

    return run


def run_dag(name, code):
    """Put a file into Airflow's folder of DAGs, as a user does, and run its DAG: its task's state, and its XCom."""
    folder = Path(HOME, "dags")
    for old in folder.glob("*.py"):
        old.unlink()
    file = folder / f"{name}.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dag_run = module.dag.test()
    (task,) = dag_run.get_task_instances()
    state = task.state.value if hasattr(task.state, "value") else task.state
    return state, task.xcom_pull(task_ids="sync", key="return_value") if state == "success" else None


def test_the_operator_syncs_and_pushes_the_counts_to_xcom(run_task, customers):
    state, value = run_task("syncs")

    assert state == "success"
    assert customers.stripe.count("customer") == 3
    assert value["syncs"][0]["done"] == {"create": 3}
    assert "a@example.com" not in json.dumps(value)


def test_the_state_may_be_on_an_object_store(run_task, customers, tmp_path):
    state, _ = run_task("remote", state_url=f"file://{tmp_path}/store")
    again, value = run_task("remote_again", state_url=f"file://{tmp_path}/store")

    assert (state, again) == ("success", "success")
    assert (value["syncs"][0]["done"], customers.stripe.count("customer")) == ({}, 3)
    assert list((tmp_path / "store" / "dev" / "snapshots").iterdir())


def test_arguments_are_templated(run_task, customers):
    state, _ = run_task(
        "templates", project_dir="{{ run_id and '' }}" + str(customers.root), select="{{ 'customers' }}"
    )

    assert state == "success"
    assert customers.stripe.count("customer") == 3


def test_rejected_rows_fail_the_task_unless_configured_otherwise(run_task, reject_one):
    reject_one()

    assert run_task("rejects")[0] == "failed"
    state, value = run_task("tolerates", fail_on_rejected=False)
    assert (state, value["status"]) == ("success", "partial")


def test_a_run_that_cannot_continue_fails(run_task, monkeypatch):
    monkeypatch.delenv("STRIPE_API_KEY")

    assert run_task("no_key")[0] == "failed"


def test_the_key_can_be_an_airflow_connection(run_task, customers, monkeypatch):
    key = os.environ["STRIPE_API_KEY"]
    monkeypatch.delenv("STRIPE_API_KEY")
    monkeypatch.setenv("AIRFLOW_CONN_STRIPE", json.dumps({"conn_type": "generic", "password": key}))

    assert run_task("connection", stripe_conn_id="stripe")[0] == "success"
    assert customers.stripe.count("customer") == 3
    assert "STRIPE_API_KEY" not in os.environ


# ── dbt Cloud ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def cloud(customers, monkeypatch):
    """dbt Cloud with a job that builds the customers; nothing of it is on this machine."""
    file = customers.root / "target" / "manifest.json"
    manifest = json.loads(file.read_text())
    file.unlink()
    results = {"metadata": {}, "results": [{"unique_id": "model.shop.customers", "status": "success"}]}
    with DbtCloud() as cloud:
        connection = {"conn_type": "generic", "host": cloud.url, "login": ACCOUNT, "password": TOKEN}
        monkeypatch.setenv("AIRFLOW_CONN_CLOUD", json.dumps(connection))
        cloud.jobs[7] = []
        cloud.build = dbt("dbt build", manifest=manifest, run_results=results)
        yield cloud


def test_the_task_is_deferred_while_dbt_cloud_builds(run_task, customers, cloud, monkeypatch):
    from dbt_stripe_sync.integrations import airflow as ours

    deferred = []
    defer = ours.StripeSyncOperator.defer
    monkeypatch.setattr(
        ours.StripeSyncOperator, "defer", lambda self, **given: (deferred.append(given), defer(self, **given))
    )
    cloud.add_run(cloud.build, status=RUNNING, ahead=[RUNNING, RUNNING, RUNNING, SUCCESS])

    state, value = run_task("defers", dbt_cloud_job=7, dbt_cloud_conn_id="cloud", deferrable=True, poll=0.2)

    assert state == "success"
    assert customers.stripe.count("customer") == 3
    assert value["status"] == "succeeded"
    (given,) = deferred
    assert TOKEN not in str(given["trigger"].serialize())


def test_without_deferring_the_task_waits(run_task, customers, cloud):
    cloud.add_run(cloud.build, status=RUNNING, ahead=[RUNNING, RUNNING, SUCCESS])

    state, _ = run_task("waits", dbt_cloud_job=7, dbt_cloud_conn_id="cloud", deferrable=False, poll=0.2)

    assert state == "success"
    assert customers.stripe.count("customer") == 3


def test_the_operator_starts_the_job_on_request(run_task, customers, cloud):
    cloud.next_run = Run(0, 7, [*first_steps(), cloud.build], ahead=[RUNNING, SUCCESS])
    arguments = {"dbt_cloud_job": "{{ 7 }}", "dbt_cloud_conn_id": "cloud", "trigger_job": True}

    state, _ = run_task("starts", **arguments, deferrable=True, poll=0.2)

    assert state == "success"
    assert cloud.jobs[7][0].cause.startswith("Started by Airflow: starts.sync (")
    assert customers.stripe.count("customer") == 3


def test_a_run_that_never_finishes_fails_the_task(run_task, cloud):
    cloud.add_run(cloud.build, status=RUNNING, ahead=[RUNNING] * 1000)

    state, _ = run_task("never", dbt_cloud_job=7, dbt_cloud_conn_id="cloud", deferrable=True, poll=0.1, timeout=1)

    assert state == "failed"


def test_the_page_on_orchestrators_works(customers, cloud, monkeypatch):
    from pages import code_of

    cloud.add_run(cloud.build, job=12345)
    monkeypatch.setenv("AIRFLOW_CONN_DBT_CLOUD", os.environ["AIRFLOW_CONN_CLOUD"])
    connection = {"conn_type": "generic", "password": os.environ["STRIPE_API_KEY"]}
    monkeypatch.setenv("AIRFLOW_CONN_STRIPE", json.dumps(connection))
    monkeypatch.setenv("DBT_PROFILES_DIR", str(customers.root))
    monkeypatch.setenv("STRIPE_API_BASE", customers.stripe.url)
    code = code_of("Airflow").replace("/opt/airflow/dbt/shop", str(customers.root))
    if not IS_AIRFLOW_3:
        code = code.replace("from airflow.sdk import DAG", "from airflow import DAG")
    state, _ = run_dag("page", code)

    assert state == "success"
    assert customers.stripe.count("customer") == 3
