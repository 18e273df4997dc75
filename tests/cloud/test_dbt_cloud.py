"""`--dbt-cloud-job`, `--dbt-cloud-run` and `cloud trigger`, over HTTP against dbt Cloud's documented API."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from business import ROOT
from dbt_cloud_server import (
    CANCELLED,
    ERROR,
    QUEUED,
    RUNNING,
    STARTING,
    SUCCESS,
    TOKEN,
    Run,
    Step,
    dbt,
    first_steps,
    results,
)

from dbt_stripe_sync.cloud.access import TOKEN as TOKEN_NAMES
from dbt_stripe_sync.cloud.access import read_access


def good(remote, **changes):
    return dbt("dbt build", manifest=remote.manifest, run_results=results(customers="success"), **changes)


# ── fetching ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_of_dbt_cloud_is_synced(remote):
    run = remote.cloud.add_run(good(remote))

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 0, ran.text
    assert remote.stripe.count("customer") == 3
    assert f"dbt Cloud run {run.id} (succeeded): artifacts of step 4 are in" in ran.text


def test_the_latest_run_of_a_job_is_synced(remote):
    remote.cloud.add_run(dbt("dbt build", manifest={"metadata": {}, "nodes": {}}), job=7)
    remote.cloud.add_run(dbt("dbt build", manifest={"metadata": {}, "nodes": {}}), job=8)
    latest = remote.cloud.add_run(good(remote), job=7)

    ran = remote.cli("run", "--dbt-cloud-job", "7")

    assert ran.exit_code == 0, ran.text
    assert f"run {latest.id} (succeeded)" in ran.text
    assert remote.stripe.count("customer") == 3


def test_later_commands_use_the_fetched_artifacts(remote, tmp_path):
    run = remote.cloud.add_run(good(remote))
    plan = tmp_path / "plan.jsonl"

    assert remote.cli("plan", "--dbt-cloud-run", str(run.id), "--out", str(plan)).exit_code == 0
    applied = remote.cli("apply", str(plan))

    assert applied.exit_code == 0, applied.text
    assert remote.stripe.count("customer") == 3


def test_a_fresh_checkout_does_not_count_as_changed_since_dbt_cloud_read_it(remote):
    models = remote.root / "models"
    models.mkdir()
    (models / "customers.sql").write_text("select 1")
    run = remote.cloud.add_run(good(remote))

    fetched = remote.cli("plan", "--dbt-cloud-run", str(run.id))
    (remote.root / "target" / "manifest.json").write_text(
        json.dumps({**remote.manifest, "metadata": {**remote.manifest["metadata"], "invocation_id": "built here"}})
    )
    built_here = remote.cli("plan")

    assert "stale-manifest" not in fetched.text
    assert "stale-manifest" in built_here.text


def test_no_artifacts_of_an_earlier_run_remain(remote):
    failed = remote.cloud.add_run(
        dbt("dbt build", ERROR, manifest=remote.manifest, run_results=results(customers="error")), status=ERROR
    )
    compiled = remote.cloud.add_run(dbt("dbt compile", manifest=remote.manifest))

    assert remote.cli("plan", "--dbt-cloud-run", str(failed.id)).exit_code == 1
    ran = remote.cli("run", "--dbt-cloud-run", str(compiled.id))

    # What the first run said of the model holds until a run builds it again, and not because its file was left there.
    assert "`customers` failed in dbt's run" in ran.text
    assert not (remote.root / "target" / "run_results.json").exists()
    assert [path.name for path in (remote.root / "target").iterdir() if path.name.startswith(".")] == []


# ── the gate ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_that_failed_in_dbt_cloud_is_held(remote):
    run = remote.cloud.add_run(
        dbt("dbt build", ERROR, manifest=remote.manifest, run_results=results(customers="error")), status=ERROR
    )

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 1
    assert "model-held" in ran.text
    assert remote.stripe.count("customer") == 0


def test_a_model_whose_test_failed_in_another_step_is_held(remote):
    run = remote.cloud.add_run(
        dbt("dbt run", manifest=remote.manifest, run_results=results(customers="success")),
        dbt("dbt test", ERROR, manifest=remote.manifest, run_results=results("y", test__unique_customers="fail")),
        status=ERROR,
    )

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 1
    assert "the test `unique_customers_id` failed" in ran.text
    assert remote.stripe.count("customer") == 0


def test_a_later_step_does_not_hide_an_earlier_failure(remote):
    run = remote.cloud.add_run(
        dbt("dbt build", ERROR, manifest=remote.manifest, run_results=results(customers="error")),
        dbt("dbt docs generate", manifest=remote.manifest, run_results=results("y", customers="success")),
        status=ERROR,
    )

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 1
    assert remote.stripe.count("customer") == 0


def test_a_rerun_from_failure_is_the_latest_run_of_its_job(remote):
    """dbt Cloud gives it an id of its own, and its steps are `dbt retry` and what was skipped."""
    failed = results(customers="error")
    remote.cloud.add_run(
        dbt("dbt build", ERROR, manifest=remote.manifest, run_results=failed), status=ERROR, cause="Scheduled"
    )
    retried = remote.cloud.add_run(
        dbt("dbt retry", manifest=remote.manifest, run_results=results("y", customers="success")),
        dbt("dbt docs generate", manifest={**remote.manifest, "nodes": {}}),
    )

    ran = remote.cli("run", "--dbt-cloud-job", "7")

    assert ran.exit_code == 0, ran.text
    assert f"run {retried.id} (succeeded): artifacts of step 4" in ran.text
    assert remote.stripe.count("customer") == 3


@pytest.mark.parametrize("host", ["ab123.us1.dbt.com", "https://ab123.us1.dbt.com", "https://ab123.us1.dbt.com/"])
@pytest.mark.parametrize("name", TOKEN_NAMES)
def test_accounts_with_their_own_host_and_every_kind_of_token_are_accepted(host, name):
    """Service tokens, personal ones and those of earlier names are sent alike."""
    access = read_access({"DBT_CLOUD_HOST": host, "DBT_CLOUD_ACCOUNT_ID": "4321", name: "dbtu_x"})

    assert (access.base_url, access.token) == ("https://ab123.us1.dbt.com", "dbtu_x")
    assert "dbtu_x" not in repr(access)


def test_the_manifest_comes_from_the_step_that_built_the_models(remote):
    bare = {**remote.manifest, "nodes": {}}
    run = remote.cloud.add_run(good(remote), dbt("dbt docs generate", manifest=bare, run_results=results("y")))

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 0, ran.text
    assert remote.stripe.count("customer") == 3


def test_a_step_can_be_named(remote):
    bare = {**remote.manifest, "nodes": {}}
    run = remote.cloud.add_run(dbt("dbt build", manifest=bare, run_results=results()), good(remote))

    first = remote.cli("ls", "--dbt-cloud-run", str(run.id), "--dbt-cloud-step", "4")
    second = remote.cli("ls", "--dbt-cloud-run", str(run.id), "--dbt-cloud-step", "5")

    assert "no-syncs" in first.text
    assert "customers" in second.out


# ── ephemeral models ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["compiled/shop/models/customers.sql", "compiled/models/customers.sql"])
def test_compiled_sql_of_ephemeral_models_is_fetched_if_the_manifest_lacks_it(remote, path):
    node = remote.manifest["nodes"]["model.shop.customers"]
    node["config"]["materialized"] = "ephemeral"
    node["relation_name"] = None
    other = {"shop/models/other.sql": "select 1"}
    step = dbt("dbt build", manifest=remote.manifest, run_results=results(customers="skipped"), compiled=other)
    step.files[path] = "select * from customers where id < 3"
    run = remote.cloud.add_run(step)

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 0, ran.text
    assert remote.stripe.count("customer") == 2
    assert not any("other.sql" in line for line in remote.cloud.requests)


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_token_is_reported_and_never_shown(remote, monkeypatch):
    run = remote.cloud.add_run(good(remote))
    monkeypatch.setenv("DBT_CLOUD_API_TOKEN", "dbtc_WrongButSecretAllTheSame")

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 2
    assert f"error[dbt-cloud-unauthorized]: dbt Cloud rejected the token when asked for run {run.id} (401)" in ran.text
    assert "check DBT_CLOUD_API_TOKEN" in ran.text
    assert "dbtc_" not in ran.text


def test_an_unknown_run_and_an_unknown_job_are_reported(remote):
    remote.cloud.add_run(good(remote), job=7)

    no_run = remote.cli("run", "--dbt-cloud-run", "5")
    no_job = remote.cli("run", "--dbt-cloud-job", "6")

    assert no_run.exit_code == no_job.exit_code == 2
    assert "error[dbt-cloud-not-found]: account 4321 has no run 5 (404)" in no_run.text
    assert "error[dbt-cloud-not-found]: account 4321 has no job 6 (404)" in no_job.text


def test_a_job_that_never_ran_is_reported(remote):
    remote.cloud.jobs[7] = []

    ran = remote.cli("run", "--dbt-cloud-job", "7")

    assert ran.exit_code == 2
    assert "error[dbt-cloud-no-runs]: job 7 of dbt Cloud has never run" in ran.text


def test_a_run_of_another_job_is_refused(remote):
    run = remote.cloud.add_run(good(remote), job=8)

    ran = remote.cli("run", "--dbt-cloud-job", "7", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 2
    assert f"run {run.id} is of dbt Cloud job 8, not 7" in ran.text


@pytest.mark.parametrize(
    ("status", "word"), [(QUEUED, "queued"), (STARTING, "starting"), (RUNNING, "running"), (5, "running")]
)
def test_an_unfinished_run_is_reported(remote, status, word):
    run = remote.cloud.add_run(good(remote), status=status)

    ran = remote.cli("run", "--dbt-cloud-job", "7")

    assert ran.exit_code == 2
    assert f"error[dbt-cloud-run-active]: run {run.id} of dbt Cloud job 7 is still {word}" in ran.text
    assert f"`--dbt-cloud-run {run.id} --dbt-cloud-wait 3600`" in ran.text
    assert not (remote.root / "target" / "manifest.json").exists()


def test_a_run_that_failed_before_dbt_built_anything_stops_the_sync(remote):
    run = remote.cloud.add_run(status=ERROR, message="This run failed to clone the repository")
    run.steps[0].status = ERROR

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 2
    assert "error[dbt-cloud-run-failed]" in ran.text
    assert "failed in step 1 (`Clone git repository`)" in ran.text
    assert "This run failed to clone the repository" in ran.text
    assert f"https://cloud.getdbt.com/deploy/4321/projects/1/runs/{run.id}" in ran.text


def test_a_failed_run_without_a_failed_model_stops_the_sync_unless_a_step_is_named(remote):
    run = remote.cloud.add_run(good(remote), dbt("dbt run-operation grant_access", ERROR), status=ERROR)

    stopped = remote.cli("run", "--dbt-cloud-run", str(run.id))
    named = remote.cli("run", "--dbt-cloud-run", str(run.id), "--dbt-cloud-step", "4")

    assert stopped.exit_code == 2
    assert "failed in step 5 (`dbt run-operation grant_access`), and no model or test of it is to blame" in stopped.text
    assert named.exit_code == 0, named.text


def test_a_cancelled_run_stops_the_sync(remote):
    run = remote.cloud.add_run(good(remote), status=CANCELLED)

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 2
    assert f"run {run.id} of dbt Cloud job 7 was cancelled" in ran.text
    assert remote.stripe.count("customer") == 0


def test_a_step_without_artifacts_is_reported_with_those_that_have_some(remote):
    run = remote.cloud.add_run(good(remote), Step("Invoke dbt with `dbt source freshness`"))

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id), "--dbt-cloud-step", "5")

    assert ran.exit_code == 2
    assert f"error[dbt-cloud-no-artifacts]: step 5 of run {run.id} of dbt Cloud job 7 has no manifest.json" in ran.text
    assert "steps with one: 4 (`dbt build`)" in ran.text


def test_a_run_without_artifacts_is_reported(remote):
    run = remote.cloud.add_run(Step("Invoke dbt with `dbt debug`"))

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 2
    assert f"error[dbt-cloud-no-artifacts]: run {run.id} of dbt Cloud job 7 has no manifest.json" in ran.text


def test_an_artifact_that_is_not_json_replaces_nothing(remote):
    target = remote.root / "target"
    (target / "manifest.json").write_text(json.dumps(remote.manifest))
    run = remote.cloud.add_run(dbt("dbt build", manifest='{"metadata": {', run_results=results()))

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 2
    assert "doesn't have dbt's format" in ran.text
    assert json.loads((target / "manifest.json").read_text()) == remote.manifest


def test_a_job_of_another_project_is_refused(remote):
    metadata = {**remote.manifest["metadata"], "project_name": "warehouse"}
    run = remote.cloud.add_run(dbt("dbt build", manifest={**remote.manifest, "metadata": metadata}))

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 2
    assert "error[dbt-cloud-other-project]" in ran.text
    assert "is of the project `warehouse`, and this is `shop`" in ran.text


def test_all_missing_environment_variables_are_reported_at_once(remote, monkeypatch):
    monkeypatch.delenv("DBT_CLOUD_ACCOUNT_ID")
    monkeypatch.delenv("DBT_CLOUD_API_TOKEN")
    monkeypatch.setenv("DBT_CLOUD_HOST", "http://cloud.getdbt.com")

    ran = remote.cli("run", "--dbt-cloud-run", "1")

    assert ran.exit_code == 2
    assert ran.err.count("error[dbt-cloud-settings]") == 3
    assert "DBT_CLOUD_ACCOUNT_ID is not set" in ran.text
    assert "DBT_CLOUD_API_TOKEN is not set" in ran.text
    assert "DBT_CLOUD_HOST is not a host name or an https address" in ran.text


@pytest.mark.parametrize("host", ["https://cloud.getdbt.com/api", "ftp://x", "https://user@x", "http://[::1", "//"])
def test_an_address_that_is_not_a_host_is_reported(remote, monkeypatch, host):
    monkeypatch.setenv("DBT_CLOUD_HOST", host)

    ran = remote.cli("run", "--dbt-cloud-run", "1")

    assert ran.exit_code == 2
    assert "error[dbt-cloud-settings]" in ran.text


def test_an_unreachable_host_is_reported(remote, monkeypatch):
    monkeypatch.setattr("dbt_stripe_sync.cloud.client.FIRST_WAIT", 0.01)
    monkeypatch.setenv("DBT_CLOUD_HOST", "http://127.0.0.1:1")

    ran = remote.cli("run", "--dbt-cloud-run", "1")

    assert ran.exit_code == 2
    assert "error[dbt-cloud-unreachable]" in ran.text


def test_step_without_a_run_is_a_usage_error(remote):
    ran = remote.cli("run", "--dbt-cloud-step", "4")

    assert ran.exit_code == 2
    assert "need a job or a run of dbt Cloud" in ran.text


# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [429, 500, 502, 503, 0])
@pytest.mark.parametrize("match", ["/runs/900/", "manifest.json"])
def test_a_temporary_failure_is_retried(remote, monkeypatch, status, match):
    monkeypatch.setattr("dbt_stripe_sync.cloud.client.FIRST_WAIT", 0.01)
    run = remote.cloud.add_run(good(remote))
    remote.cloud.fail(match, status, times=2)

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 0, ran.text
    assert remote.stripe.count("customer") == 3


def test_a_persistent_failure_is_reported(remote):
    run = remote.cloud.add_run(good(remote))
    remote.cloud.fail("/runs/900/", 503, times=99, headers={"Retry-After": "0"})

    ran = remote.cli("run", "--dbt-cloud-run", str(run.id))

    assert ran.exit_code == 2
    assert "error[dbt-cloud-unreachable]: dbt Cloud answered 503 when asked for run 900" in ran.text
    assert len(remote.cloud.requests) == 5


# ── triggering ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def job(remote):
    """A job whose next run is queued, runs, and builds the customers."""
    remote.cloud.jobs[7] = []
    steps = [*first_steps(), good(remote)]
    steps[3].status = RUNNING
    remote.cloud.next_run = Run(0, 7, steps, ahead=[STARTING, RUNNING, RUNNING, SUCCESS])
    return remote


def test_trigger_starts_a_job_waits_with_progress_and_syncs(job):
    ran = job.cli("cloud", "trigger", "7", "--poll", "0.1", "--cause", "Nightly sync")

    assert ran.exit_code == 0, ran.text
    assert job.stripe.count("customer") == 3
    (run,) = job.cloud.jobs[7]
    assert run.cause.startswith("Nightly sync (")
    assert "dbt Cloud run 900 queued" in ran.text
    assert "dbt Cloud run 900 running, step 4 of 4: dbt build" in ran.text
    assert ran.text.count("step 4 of 4") == 1
    assert "https://cloud.getdbt.com/deploy/4321/projects/1/runs/900" in ran.text


def test_trigger_prints_json_lines_on_request(job):
    ran = job.cli("cloud", "trigger", "7", "--poll", "0.1", "--log-format", "json")

    told = [json.loads(line) for line in ran.err.splitlines()]
    states = [line["state"] for line in told if line["event"] == "dbt_cloud_run"]
    assert states[0] == "queued"
    assert states[-1] == "success"


@pytest.mark.parametrize("status", [0, 500, 504])
def test_a_lost_answer_starts_no_second_run(job, status):
    job.cloud.fail("POST", status, after=True)

    ran = job.cli("cloud", "trigger", "7", "--poll", "0.1")

    assert ran.exit_code == 0, ran.text
    assert len(job.cloud.jobs[7]) == 1


def test_a_request_that_did_not_start_a_run_is_sent_again(job):
    job.cloud.fail("POST", 500)

    ran = job.cli("cloud", "trigger", "7", "--poll", "0.1")

    assert ran.exit_code == 0, ran.text
    assert len(job.cloud.jobs[7]) == 1


def test_triggering_an_unknown_job_is_reported(remote):
    ran = remote.cli("cloud", "trigger", "12")

    assert ran.exit_code == 2
    assert "error[dbt-cloud-not-found]: account 4321 has no job 12 (404)" in ran.text


def test_a_run_that_takes_too_long_is_reported_and_left_running(job):
    ran = job.cli("cloud", "trigger", "7", "--poll", "0.1", "--timeout", "1")
    job.cloud.jobs[7].clear()
    job.cloud.next_run = Run(0, 7, [], ahead=[RUNNING] * 100)
    slow = job.cli("cloud", "trigger", "7", "--poll", "0.1", "--timeout", "1")

    assert ran.exit_code == 0, ran.text
    assert slow.exit_code == 2
    assert "is still running after 1 seconds" in slow.text


def test_trigger_accepts_the_options_of_run(job):
    ran = job.cli("cloud", "trigger", "7", "--poll", "0.1", "--dry-run")

    assert ran.exit_code == 0, ran.text
    assert "3 to change" in ran.text
    assert job.stripe.count("customer") == 0


@pytest.mark.parametrize("option", ["--build", "--defer"])
def test_trigger_rejects_build_options_because_the_job_decides_them(job, option):
    ran = job.cli("cloud", "trigger", "7", option)

    assert ran.exit_code == 2
    assert f"No such option: {option}" in ran.text or f"No such option '{option}'" in ran.text
    assert job.stripe.count("customer") == 0


def test_run_waits_for_a_dbt_cloud_run_on_request(remote):
    run = remote.cloud.add_run(good(remote), status=RUNNING, ahead=[RUNNING, SUCCESS])

    ran = remote.cli("run", "--dbt-cloud-job", "7", "--dbt-cloud-wait", "5")

    assert ran.exit_code == 0, ran.text
    assert f"run {run.id} (succeeded)" in ran.text


def test_ctrl_c_while_waiting_leaves_the_job_alone(job):
    job.cloud.next_run = Run(0, 7, [], ahead=[RUNNING] * 1000)
    command = [sys.executable, "-m", "dbt_stripe_sync", "cloud", "trigger", "7", "--poll", "0.1"]
    options = ["--project-dir", str(job.root), "--profiles-dir", str(job.root)]
    started = subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not (job.cloud.jobs[7] and job.cloud.jobs[7][0].status == RUNNING):
        time.sleep(0.05)

    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=30)

    assert started.returncode == 130
    assert "Traceback" not in err
    assert TOKEN not in err


def test_commands_without_dbt_cloud_do_not_import_its_client():
    code = (
        "import sys; from dbt_stripe_sync.cli import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith(('dbt_stripe_sync.cloud', 'dbt_stripe_sync.serve'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
