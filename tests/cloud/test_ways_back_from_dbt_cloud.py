"""No dead ends in dbt Cloud: what the hint says leads to a run that succeeds."""

from __future__ import annotations

import pytest
from dbt_cloud_server import ERROR, RUNNING, TOKEN, Step, dbt, results


def good(remote):
    return dbt("dbt build", manifest=remote.manifest, run_results=results(customers="success"))


def ran(remote, *steps, **facts):
    remote.cloud.jobs[7] = []
    return remote.cloud.add_run(*(steps or (good(remote),)), **facts)


def other_project(remote, _monkeypatch):
    metadata = {**remote.manifest["metadata"], "project_name": "warehouse"}
    ran(remote, dbt("dbt build", manifest={**remote.manifest, "metadata": metadata}))


def never_ran(remote, _monkeypatch):
    remote.cloud.jobs[7] = []


def unknown(remote, _monkeypatch):
    remote.cloud.jobs.pop(7, None)


def wrong_token(remote, monkeypatch):
    ran(remote)
    monkeypatch.setenv("DBT_CLOUD_API_TOKEN", "dbtc_WrongButSecretAllTheSame")


def right_token(_remote, monkeypatch):
    monkeypatch.setenv("DBT_CLOUD_API_TOKEN", TOKEN)


def no_token(remote, monkeypatch):
    ran(remote)
    monkeypatch.delenv("DBT_CLOUD_API_TOKEN")


def answers(status):
    def bring_about(remote, _monkeypatch):
        ran(remote)
        remote.cloud.fail("/runs/", status, times=1000)

    return bring_about


def answers_as_expected(remote, _monkeypatch):
    remote.cloud.faults.clear()


def built(remote, _monkeypatch):
    ran(remote)


# Code: what brings it about, and the way out.
WAYS = {
    "dbt-cloud-unauthorized": (wrong_token, right_token),
    "dbt-cloud-settings": (no_token, right_token),
    "dbt-cloud-forbidden": (answers(403), answers_as_expected),
    "dbt-cloud-refused": (answers(400), answers_as_expected),
    "dbt-cloud-unreachable": (answers(503), answers_as_expected),
    "dbt-cloud-not-found": (unknown, built),
    "dbt-cloud-no-runs": (never_ran, built),
    "dbt-cloud-no-artifacts": (lambda remote, _: ran(remote, Step("Invoke dbt with `dbt debug`")), built),
    "dbt-cloud-other-project": (other_project, built),
    "dbt-cloud-run-active": (lambda remote, _: ran(remote, status=RUNNING), built),
    "dbt-cloud-run-failed": (
        lambda remote, _: ran(remote, good(remote), dbt("dbt run-operation grant", ERROR), status=ERROR),
        built,
    ),
}


@pytest.mark.parametrize("code", WAYS)
def test_following_the_hint_leads_to_a_successful_run(remote, monkeypatch, code):
    bring_about, way_out = WAYS[code]
    bring_about(remote, monkeypatch)
    refused = remote.cli("run", "--dbt-cloud-job", "7")
    assert refused.exit_code == 2, refused.text
    assert f"error[{code}]" in refused.text, refused.text
    assert "hint:" in refused.text, refused.text

    way_out(remote, monkeypatch)

    succeeded = remote.cli("run", "--dbt-cloud-job", "7")
    assert succeeded.exit_code == 0, succeeded.text
    assert remote.stripe.count("customer") == 3
