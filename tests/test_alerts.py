"""`alerts:` notifies somebody if a run had a problem: counts and links, never a value or a key of a row."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dbt_stripe_sync import Project, ProjectOptions
from dbt_stripe_sync.config.settings import parse_settings
from dbt_stripe_sync.sandbox import Fault

MARKED = "marked.person@example.com"


class Receiver:
    """Takes what is posted, and answers with the next of `answers`."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.answers.pop(0) if receiver.answers else 200
                if status == 0:
                    self.connection.close()
                    return
                receiver.bodies.append(json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/services/T000/B000/SecretOfTheReceiver"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver(monkeypatch):
    receiver = Receiver()
    monkeypatch.setenv("ALERT_URL", receiver.url)
    for name in ("GITHUB_RUN_ID", "CI_JOB_URL", "BUILD_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("dbt_stripe_sync.alerts.BETWEEN_SECONDS", 0.01)
    yield receiver
    receiver.close()


@pytest.fixture
def alerting(customers, receiver):
    customers.set(alerts=[{"url_env": "ALERT_URL"}])
    customers.receiver = receiver
    return customers


def reject_one(business):
    """One of the rows has a value that Stripe does not take; it must be in no alert."""
    note = f"{MARKED} " * 30
    business.table("customers", f"SELECT 1 AS id, 'a@example.com' AS email, '{note}' AS name")
    business.sync("customers", resource="customer", key="id", fields={"email": "email", "metadata.note": "name"})


def hold(business):
    metadata = {"generated_at": "2026-01-02T00:00:00Z", "invocation_id": "later"}
    results = {"metadata": metadata, "results": [{"unique_id": "model.shop.customers", "status": "error"}]}
    (business.root / "target" / "run_results.json").write_text(json.dumps(results))


def test_a_run_that_succeeds_sends_no_alert(alerting):
    assert alerting.cli().exit_code == 0
    assert alerting.receiver.bodies == []


def test_rejected_rows_are_reported_with_counts_and_links(alerting):
    reject_one(alerting)

    ran = alerting.cli()

    assert ran.exit_code == 1
    (body,) = alerting.receiver.bodies
    assert body["version"] == 1
    assert body["event"] == "stripe_sync_run"
    assert body["reasons"] == ["failure"]
    assert (body["status"], body["project"], body["target"]) == ("partial", "shop", "dev")
    assert body["problems"] == {"metadata-value-too-long": 1}
    assert body["syncs"] == [{"sync": "customers", "resource": "customer", "rows": 1, "rejected": 1, "is_held": False}]
    assert body["links"]["stripe"].startswith("https://dashboard.stripe.com/acct_")
    assert body["run_id"] in ran.text


def test_rows_that_stripe_rejects_are_counted_with_their_sync(alerting):
    alerting.rows(
        "customers", (1, "bad mail", "Ann"), (2, "b@example.com", "Bob"), columns="id int, email text, name text"
    )

    assert alerting.cli().exit_code == 1

    (body,) = alerting.receiver.bodies
    assert body["syncs"] == [{"sync": "customers", "resource": "customer", "rows": 2, "rejected": 1, "is_held": False}]


def test_no_value_of_a_row_is_reported(alerting):
    alerting.set(alerts=[{"url_env": "ALERT_URL"}, {"url_env": "ALERT_URL", "form": "slack"}])
    reject_one(alerting)

    alerting.cli()

    assert len(alerting.receiver.bodies) == 2
    assert MARKED not in json.dumps(alerting.receiver.bodies)
    assert "example.com" not in json.dumps(alerting.receiver.bodies)


def test_held_models_are_reported(alerting):
    hold(alerting)

    assert alerting.cli().exit_code == 1

    (body,) = alerting.receiver.bodies
    assert body["reasons"] == ["held"]
    assert body["syncs"][0]["is_held"] is True


def test_an_exceeded_limit_is_reported(alerting):
    meta = alerting.models["customers"]["meta"]["stripe_sync"]
    alerting.sync("customers", **meta, limits={"max_changes": 2})

    assert alerting.cli().exit_code == 1

    (body,) = alerting.receiver.bodies
    assert body["reasons"] == ["limits"]
    assert body["problems"] == {"max-changes": 1}


def test_remaining_work_is_reported(alerting):
    alerting.stripe.inject(Fault.status_code(path="^/v1/customers$", method="POST", after_effect=True, count=None))

    alerting.cli()

    (body,) = alerting.receiver.bodies
    assert "owed" in body["reasons"]
    assert body["totals"]["unknown"] > 0


def test_a_run_that_cannot_continue_is_reported(alerting, monkeypatch):
    monkeypatch.delenv("STRIPE_API_KEY")

    ran = alerting.cli()

    assert ran.exit_code == 2
    (body,) = alerting.receiver.bodies
    assert (body["reasons"], body["status"]) == (["failure"], "failed")
    assert body["problems"] == {"no-stripe-key": 1}


def test_a_missing_manifest_is_reported_too(alerting):
    (alerting.root / "target" / "manifest.json").unlink()

    assert alerting.cli().exit_code == 2
    assert alerting.receiver.bodies[0]["problems"] == {"no-manifest": 1}


def test_read_only_commands_send_no_alert(alerting):
    hold(alerting)

    for command in ("plan", "ls", "debug", "parse"):
        alerting.cli(command)

    assert alerting.receiver.bodies == []


def test_python_sends_alerts_as_the_command_line_does(alerting):
    reject_one(alerting)

    Project(ProjectOptions(project_dir=alerting.root, profiles_dir=alerting.root, stripe_url=alerting.stripe.url)).run()

    assert len(alerting.receiver.bodies) == 1


def test_a_plan_that_a_person_declines_sends_no_alert(alerting, monkeypatch):
    alerting.cli("run")
    alerting.table("customers", "SELECT * REPLACE (name || '!' AS name) FROM customers")
    alerting.cli("run")
    run, _ = map(json.loads, alerting.cli("runs", "--output", "json").out.splitlines())
    monkeypatch.setattr("dbt_stripe_sync.cli.screen.Screen.can_ask", property(lambda _: True))
    monkeypatch.setattr("dbt_stripe_sync.cli.screen.Screen.confirm", lambda *_: False)

    ran = alerting.cli("undo", run["run"])

    assert (ran.exit_code, "error[not-confirmed]" in ran.err) == (2, True), ran.text
    assert alerting.receiver.bodies == []


def test_only_the_configured_reasons_are_reported(alerting):
    alerting.set(alerts={"url_env": "ALERT_URL", "when": ["held", "drift"]})
    reject_one(alerting)
    alerting.cli()
    told_of_failure = list(alerting.receiver.bodies)
    hold(alerting)
    alerting.cli()

    assert told_of_failure == []
    assert len(alerting.receiver.bodies) == 1


def test_slack_gets_a_message_in_its_own_format(alerting):
    alerting.set(alerts=[{"url_env": "ALERT_URL", "form": "slack", "link": "https://ci.example.com/stripe?a=1&b=2"}])
    reject_one(alerting)

    alerting.cli()

    (body,) = alerting.receiver.bodies
    assert set(body) == {"text", "blocks"}
    assert body["text"] == "Stripe sync of shop (dev) needs attention: failure"
    texts = [block["text"]["text"] for block in body["blocks"] if block["type"] == "section"]
    assert "`customers`: 1 of 1 row rejected" in texts[1]
    (context,) = (block for block in body["blocks"] if block["type"] == "context")
    assert "<https://ci.example.com/stripe?a=1&amp;b=2|report>" in context["elements"][0]["text"]


def test_the_job_that_runs_it_is_linked(alerting, monkeypatch):
    monkeypatch.setenv("GITHUB_RUN_ID", "42")
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/shop")
    hold(alerting)

    alerting.cli()

    assert alerting.receiver.bodies[0]["links"]["job"] == "https://github.com/acme/shop/actions/runs/42"


# ── an alert that fails ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("answers", [[404], [500, 500, 500], [0, 0, 0], [302]])
def test_a_failing_alert_never_fails_a_run(alerting, answers):
    alerting.set(alerts=[{"url_env": "ALERT_URL"}])
    alerting.receiver.answers = answers
    meta = alerting.models["customers"]["meta"]["stripe_sync"]
    alerting.sync("customers", **meta, limits={"max_changes": 2})

    ran = alerting.cli()

    assert ran.exit_code == 1
    assert "warning[alert-not-sent]: the alert to the address in ALERT_URL was not sent" in ran.text
    assert "SecretOfTheReceiver" not in ran.text
    assert "Traceback" not in ran.text


def test_a_temporary_failure_of_the_receiver_is_retried(alerting):
    alerting.receiver.answers = [503, 0, 200]
    hold(alerting)

    ran = alerting.cli()

    assert "alert-not-sent" not in ran.text
    assert len(alerting.receiver.bodies) == 2


@pytest.mark.parametrize(("url", "why"), [("", "is not set"), ("nonsense", "does not hold an http address")])
def test_an_invalid_address_is_a_warning(alerting, monkeypatch, url, why):
    monkeypatch.setenv("ALERT_URL", url)
    hold(alerting)

    ran = alerting.cli()

    assert ran.exit_code == 1
    assert f"the variable {why}" in ran.text


def test_one_failing_address_does_not_stop_alerts_to_the_others(alerting, monkeypatch):
    monkeypatch.setenv("OTHER_URL", "http://127.0.0.1:1/")
    alerting.set(alerts=[{"url_env": "OTHER_URL"}, {"url_env": "ALERT_URL"}])
    hold(alerting)

    ran = alerting.cli()

    assert len(alerting.receiver.bodies) == 1
    assert "OTHER_URL was not sent" in ran.text


def test_a_stopped_run_prints_its_error_before_a_failed_alert(alerting, monkeypatch):
    monkeypatch.delenv("STRIPE_API_KEY")
    alerting.receiver.answers = [404]

    ran = alerting.cli()

    assert ran.exit_code == 2
    assert ran.err.index("error[no-stripe-key]") < ran.err.index("warning[alert-not-sent]")


# ── settings ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("alerts", "field", "hint"),
    [
        ([{"url": "https://hooks.slack.com/x"}], "alerts.0.url", "with `url_env`"),
        ([{"url_env": "https://hooks.slack.com/x"}], "alerts.0.url_env", "url_env: SLACK_WEBHOOK_URL"),
        ([{"url_env": "A", "form": "teams"}], "alerts.0.form", "use `json`, `slack`"),
        ({"url_env": "A", "when": ["sometimes"]}, "alerts.when", "use `failure`"),
        ({"url_env": "A", "link": "ci"}, "alerts.link", "begins with https://"),
        (["A"], "alerts.0", "an alert has the settings"),
        ([{"url_env": "A", "fom": "slack"}], "alerts.0.fom", "`form`"),
    ],
)
def test_a_bad_alert_is_reported_with_its_place(alerts, field, hint):
    _, problems = parse_settings({"alerts": alerts})

    assert f"vars.stripe_sync.{field}" in [problem.where.field for problem in problems]
    assert any(hint in (problem.hint or "") for problem in problems), problems
