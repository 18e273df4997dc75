"""No dead ends with keys, the state and saved plans: following the hint leads to a run that succeeds."""

from __future__ import annotations

import json
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from business import run_cli
from test_ways_back import check_that_nothing_is_left

from dbt_stripe_sync.sandbox import Fault, Sandbox

LIVE = "sk_live_sandbox000000000000"
OTHER = "sk_test_acct_other_0000"


def key(value):
    return lambda _business, monkeypatch: monkeypatch.setenv("STRIPE_API_KEY", value)


def fault(make, **match):
    return lambda business, _monkeypatch: business.stripe.inject(make(count=None, **match))


def no_fault(business, _monkeypatch):
    business.stripe.clear_faults()


def settings(**given):
    return lambda business, _monkeypatch: business.set(**given)


def no_key(_business, monkeypatch):
    monkeypatch.delenv("STRIPE_API_KEY")


def org_key(_business, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", "sk_org_test_0123456789")


good_key = key(Sandbox.api_key)
AT_STRIPE = {
    "no-stripe-key": (no_key, good_key),
    "bad-stripe-key": (key("pk_test_0123456789"), good_key),
    "live-key": (key(LIVE), good_key),
    "other-account": (settings(account="acct_elsewhere"), settings(account="acct_sandbox")),
    "no-account": (org_key, settings(account="acct_branch")),
    "stripe-auth": (fault(Fault.unauthorized), no_fault),
    "stripe-permission": (fault(Fault.forbidden, method="GET", path="^/v1/customers$"), no_fault),
    "stripe-read-failed": (fault(Fault.status_code, method="GET", path="^/v1/customers$"), no_fault),
}


@pytest.mark.parametrize("code", AT_STRIPE)
def test_following_the_hint_about_the_key_leads_to_a_successful_run(customers, monkeypatch, code):
    bring_about, way_out = AT_STRIPE[code]
    bring_about(customers, monkeypatch)
    ran = customers.cli()
    assert (ran.exit_code, f"error[{code}]" in ran.text, "hint:" in ran.text) == (2, True, True), ran.text

    way_out(customers, monkeypatch)

    check_that_nothing_is_left(customers)


@pytest.mark.parametrize(
    ("code", "address"),
    [
        ("bad-address", "http://127.0.0.1:notaport"),
        ("foreign-address", "https://stripe.example.com"),
        ("stripe-unreachable", "http://127.0.0.1:9"),
    ],
)
def test_a_corrected_address_leads_to_a_successful_run(customers, code, address):
    ran = customers.cli("run", "--project-dir", str(customers.root))
    assert ran.exit_code == 0
    right, customers.stripe = customers.stripe, type("Elsewhere", (), {"url": address})()
    ran = customers.cli()
    assert (ran.exit_code, f"error[{code}]" in ran.text, "hint:" in ran.text) == (2, True, True), ran.text

    customers.stripe = right

    check_that_nothing_is_left(customers)


def test_removing_an_unusable_proxy_fixes_the_run(customers, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    customers.set(allowed_api_bases=["https://stripe.example.com"])
    right, customers.stripe = customers.stripe, type("Elsewhere", (), {"url": "https://stripe.example.com"})()
    ran = customers.cli()
    assert (ran.exit_code, "error[bad-proxy]" in ran.text) == (2, True), ran.text

    monkeypatch.delenv("HTTPS_PROXY")
    customers.stripe = right

    check_that_nothing_is_left(customers)


# ── the state ────────────────────────────────────────────────────────────────────────────────────────────────────


def another_key(_customers, monkeypatch):
    monkeypatch.setenv("STRIPE_API_KEY", OTHER)


def live(business, monkeypatch):
    business.set(live_targets=["dev"])
    monkeypatch.setenv("STRIPE_API_KEY", LIVE)


def renamed(business, _monkeypatch):
    file = business.root / "dbt_project.yml"
    file.write_text(json.dumps({**json.loads(file.read_text()), "name": "store"}))


STATES = {"state-other-account": another_key, "state-other-mode": live, "state-other-project": renamed}


@pytest.mark.parametrize("code", STATES)
def test_a_separate_state_leads_to_a_successful_run(customers, monkeypatch, code):
    customers.cli()
    STATES[code](customers, monkeypatch)
    ran = customers.cli()
    assert (ran.exit_code, f"error[{code}]" in ran.text, "--state-path" in ran.text) == (2, True, True), ran.text

    check_that_nothing_is_left(customers, "--state-path", str(customers.root / "own.duckdb"))


@pytest.mark.parametrize("way_out", ["backup", "rebuild"])
def test_a_damaged_state_is_restored_or_rebuilt(customers, way_out):
    customers.cli()
    backup = shutil.copy(customers.state, customers.root / "backup")
    customers.state.write_bytes(b"no state")
    ran = customers.cli()
    assert (ran.exit_code, "error[state-damaged]" in ran.text, "state rebuild" in ran.text) == (2, True, True), ran.text

    customers.state.unlink()
    if way_out == "backup":
        shutil.copy(backup, customers.state)
    assert customers.cli("state", "rebuild").exit_code == 0

    check_that_nothing_is_left(customers)
    assert customers.stripe.count("customer") == 3


def test_a_locked_state_is_free_once_the_other_program_ends(customers):
    customers.cli()
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(customers.state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    holder.stdout.readline()
    try:
        ran = customers.cli()
    finally:
        holder.communicate(b"\n")
    assert (ran.exit_code, "error[state-locked]" in ran.text, "hint:" in ran.text) == (2, True, True), ran.text

    check_that_nothing_is_left(customers)


def test_an_unusable_folder_is_replaced_by_another_path(customers):
    in_the_way = customers.root / "file"
    in_the_way.write_text("")
    ran = customers.cli("run", "--state-path", str(in_the_way / "state.duckdb"))
    assert (ran.exit_code, "hint:" in ran.text) == (2, True), ran.text

    check_that_nothing_is_left(customers, "--state-path", str(customers.root / "own.duckdb"))


def test_a_salt_that_is_too_short_is_replaced(customers, monkeypatch):
    customers.set(store_values=False)
    monkeypatch.setenv("DBT_STRIPE_SYNC_SALT", "short")
    ran = customers.cli()
    assert (ran.exit_code, "error[short-salt]" in ran.text, "openssl rand" in ran.text) == (2, True, True), ran.text

    monkeypatch.setenv("DBT_STRIPE_SYNC_SALT", "0123456789abcdef" * 4)

    check_that_nothing_is_left(customers)


def test_there_is_no_state_before_the_first_run(customers):
    ran = customers.cli("state", "list")
    assert (ran.exit_code, "error[no-state]" in ran.text, "hint:" in ran.text) == (2, True, True), ran.text

    customers.cli()

    assert customers.cli("state", "list").exit_code == 0


@pytest.mark.parametrize(
    ("code", "asked", "hinted"),
    [
        ("no-record", ("state", "show", "customers", "9"), ("state", "list")),
        ("no-run", ("report", "nope"), ("runs",)),
        ("nothing-owed", ("state", "settle", "customers", "1"), ("plan",)),
        ("unknown-sync", ("show", "custmers"), ("ls",)),
    ],
)
def test_the_command_in_the_hint_lists_what_exists(customers, code, asked, hinted):
    customers.cli()
    ran = customers.cli(*asked)
    assert (ran.exit_code != 0, f"error[{code}]" in ran.text, "hint:" in ran.text) == (True, True, True), ran.text

    assert customers.cli(*hinted).exit_code == 0


def test_a_valid_export_is_imported(customers):
    customers.cli()
    own = ("--state-path", str(customers.root / "own.duckdb"))
    (customers.root / "empty").mkdir()
    ran = customers.cli("state", "import", str(customers.root / "empty"), *own)
    assert (ran.exit_code, "error[bad-export]" in ran.text, "hint:" in ran.text) == (2, True, True), ran.text

    customers.cli("state", "export", str(customers.root / "export"))
    assert customers.cli("state", "import", str(customers.root / "export"), *own).exit_code == 0

    check_that_nothing_is_left(customers, *own)


# ── saved plans ──────────────────────────────────────────────────────────────────────────────────────────────────


def cut(_business, plan):
    plan.write_bytes(plan.read_bytes()[:-20])


PLANS = {"no-plan": lambda _business, plan: plan.unlink(), "plan-altered": cut}


@pytest.mark.parametrize("code", PLANS)
def test_a_plan_that_cannot_be_sent_is_created_again(customers, code):
    plan = customers.root / "plan.jsonl"
    customers.cli("plan", "--out", str(plan))
    PLANS[code](customers, plan)
    ran = customers.cli("apply", str(plan))
    assert (ran.exit_code, f"error[{code}]" in ran.text, "hint:" in ran.text) == (2, True, True), ran.text

    assert customers.cli("plan", "--out", str(plan)).exit_code == 0
    assert customers.cli("apply", str(plan)).exit_code == 0

    check_that_nothing_is_left(customers)


def test_a_plan_of_another_state_is_sent_with_that_state(customers):
    plan, own = str(customers.root / "plan.jsonl"), ("--state-path", str(customers.root / "own.duckdb"))
    customers.cli("plan", "--out", plan)
    customers.cli("plan", *own)
    ran = customers.cli("apply", plan, *own)
    assert (ran.exit_code, "error[plan-other-state]" in ran.text) == (2, True), ran.text

    assert customers.cli("apply", plan).exit_code == 0

    check_that_nothing_is_left(customers)


def test_a_plan_of_another_target_is_sent_to_that_target(customers):
    outputs = {"type": "duckdb", "path": str(customers.warehouse)}
    profile = {"shop": {"target": "dev", "outputs": {"dev": outputs, "twin": outputs}}}
    (customers.root / "profiles.yml").write_text(json.dumps(profile))
    plan, own = str(customers.root / "plan.jsonl"), ("--state-path", str(customers.root / "own.duckdb"))
    customers.cli("plan", "--out", plan, *own)
    ran = customers.cli("apply", plan, "--target", "twin", *own)
    assert (ran.exit_code, "error[plan-other-target]" in ran.text) == (2, True), ran.text

    assert customers.cli("apply", plan, "--target", "dev", *own).exit_code == 0

    check_that_nothing_is_left(customers, *own)


# ── what a run could not finish ──────────────────────────────────────────────────────────────────────────────────


def test_report_writes_artifacts_that_did_not_fit(customers):
    target = customers.root / "target" / "stripe_sync_results.json"
    target.mkdir()
    ran = customers.cli()
    assert "[artifact-not-written]" in ran.text, ran.text

    target.rmdir()

    assert customers.cli("report").exit_code == 0
    check_that_nothing_is_left(customers)


def test_the_demo_leaves_other_folders_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    Path(tmp_path / "mine" / "file").write_text("")
    ran = run_cli("demo", "--dir", str(tmp_path / "mine"))
    assert (ran.exit_code, "error[folder-in-use]" in ran.text, "--dir" in ran.text) == (2, True, True), ran.text


@pytest.fixture
def behind_a_proxy(customers, tmp_path):
    """The local Stripe, behind a TLS proxy whose certificate nobody vouches for; and that certificate."""
    certificate = tmp_path / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "-", "-out", "-"]
    certificate.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    host, port = customers.stripe.url.removeprefix("http://").split(":")

    class Relay(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                client = context.wrap_socket(self.request, server_side=True)
            except OSError:
                return
            with client, socket.create_connection((host, int(port))) as server:
                threading.Thread(target=copy, args=(server, client), daemon=True).start()
                copy(client, server)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        relay.daemon_threads = True
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        yield customers, f"https://localhost:{relay.server_address[1]}", certificate
        relay.shutdown()


def copy(source, sink):
    """All bytes, until one side has had enough."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        return


def test_a_proxys_certificate_is_trusted_once_it_is_named(behind_a_proxy, monkeypatch):
    customers, url, certificate = behind_a_proxy
    customers.stripe, right = type("Elsewhere", (), {"url": url})(), customers.stripe
    ran = customers.cli()
    assert (ran.exit_code, "error[stripe-certificate]" in ran.text, "SSL_CERT_FILE" in ran.text) == (2, True, True), (
        ran.text
    )

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    ran = customers.cli()

    assert ran.exit_code == 0, ran.text
    assert right.count("customer") == 3


def test_a_sandbox_that_cannot_start_says_what_to_change(stripe, tmp_path):
    (tmp_path / "notes").write_text("no data of a sandbox")
    taken = stripe.url.rpartition(":")[2]
    files = [str(tmp_path / name) for name in ("notes", "missing/data")]
    for options in (("--port", taken), *(("--data", file, "--port", "0") for file in files)):
        ran = run_cli("sandbox", *options)
        assert ran.exit_code == 2
        assert "error[sandbox-not-started]" in ran.text
        assert "hint: choose another port" in ran.text
    assert run_cli("sandbox", "--port", "99999").exit_code == 2

    with Sandbox(port=0, data_file=tmp_path / "data") as other:
        assert other.url != stripe.url
