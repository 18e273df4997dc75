"""`dbt-stripe-sync serve`: dbt Cloud's events are verified, stored, answered immediately, and synced once."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from business import run_cli
from dbt_cloud_server import CANCELLED, ERROR, TOKEN, dbt, results
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import parser
from serving import SECRET, event, sign

from dbt_stripe_sync.sandbox import Fault
from dbt_stripe_sync.serve.webhook import is_signed

# Each starts the real server and real syncs.
pytestmark = pytest.mark.long


def rows(shop, columns="id, state, attempts"):
    """What the queue on disk holds, once its server has ended."""
    file = shop.root / ".stripe_sync" / "serve" / "queue.sqlite3"
    with closing(sqlite3.connect(file)) as db:
        return db.execute(f"SELECT {columns} FROM deliveries ORDER BY number").fetchall()


def until(check, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_a_finished_run_is_synced_and_its_report_can_be_viewed(shop, start):
    run = shop.build()
    server = start()

    answer = server.deliver(event(run.id))
    server.wait()

    assert (answer.status, answer.json) == (202, {"status": "queued", "id": "wev_1"})
    assert shop.stripe.count("customer") == 3
    page = server.get("/").text
    assert "The last sync succeeded" in page
    assert "3 changes done" in page
    assert f"run {run.id}" in page
    assert "<title>" in server.get("/runs/1/report").text
    assert "3 created" in server.get("/runs/1/log").text
    assert server.get("/runs/1/results").json["totals"]["succeeded"] == 3
    assert server.get("/runs/2/report").status == 404
    assert server.get("/healthz").json == {"status": "ok", "queued": 0}
    assert server.stop() == 0


def test_the_state_can_be_on_an_object_store_and_the_sync_gets_every_option(shop, start, tmp_path):
    run = shop.build()
    store = tmp_path / "store"
    server = start("--state-url", f"file://{store}", "--select", "customers", "--allow-other-target")

    server.deliver(event(run.id))
    server.wait()
    log = server.get("/runs/1/log").text
    server.stop()

    assert "3 created" in log, log
    assert list((store / "dev" / "snapshots").iterdir())
    assert not shop.state.exists()
    assert "succeeded" in shop.cli("runs", "--state-url", f"file://{store}").out


def test_the_same_delivery_many_times_at_once_is_synced_once(shop, start):
    run = shop.build()
    server = start()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: server.deliver(event(run.id)), range(24)))
    server.wait()
    late = server.deliver(event(run.id))
    metrics = server.get("/metrics").text
    server.stop()

    assert sorted(answer.status for answer in answers) == [200] * 23 + [202]
    assert late.json["status"] == "duplicate"
    assert rows(shop) == [("wev_1", "succeeded", 1)]
    assert 'stripe_sync_deliveries_total{outcome="duplicate"} 24' in metrics
    assert 'stripe_sync_runs_total{status="succeeded"} 1' in metrics


def test_a_duplicate_is_known_across_a_restart(shop, start):
    run = shop.build()
    first = start()
    first.deliver(event(run.id))
    first.wait()
    first.stop(signal.SIGKILL)

    again = start().deliver(event(run.id))

    assert again.json["status"] == "duplicate"


def test_deliveries_are_synced_one_at_a_time_in_their_order(shop, start):
    run = shop.build()
    server = start()

    for number in range(3):
        assert server.deliver(event(run.id, id=f"wev_{number}")).status == 202
    server.wait()
    server.stop()

    done = rows(shop, "id, state, started_at, finished_at")
    assert [(id_, state) for id_, state, *_ in done] == [(f"wev_{n}", "succeeded") for n in range(3)]
    assert all(before[3] <= after[2] for before, after in pairwise(done))
    assert shop.stripe.count("customer") == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_queued_and_running_deliveries_are_queued_again_after_a_restart(shop, start, number):
    run = shop.build()
    shop.cloud.fail(f"/runs/{run.id}/", 429, times=4, headers={"Retry-After": "3"})
    server = start()
    server.deliver(event(run.id, id="wev_running"))
    server.deliver(event(run.id, id="wev_queued"))
    until(lambda: any(f"/runs/{run.id}/" in line for line in shop.cloud.requests))

    server.stop(number)
    left = rows(shop, "state")
    shop.cloud.faults.clear()
    again = start()
    again.wait()
    again.stop()

    assert left in ([("running",), ("queued",)], [("queued",), ("queued",)])
    assert [(id_, state) for id_, state, _ in rows(shop)] == [("wev_running", "succeeded"), ("wev_queued", "succeeded")]
    assert shop.stripe.count("customer") == 3


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unsigned_delivery_is_never_queued(shop, start):
    body = event(shop.build().id)
    server = start()
    wrong = ["", "0" * 64, sign(body + b" "), sign(body)[:-1], f"Bearer {sign(body)}", "ü" * 64]

    statuses = [server.deliver(body, signature.encode().decode("latin-1")).status for signature in wrong]
    without = ask_raw(server, body, "")
    metrics = server.get("/metrics").text
    server.stop()

    assert statuses == [401] * len(wrong)
    assert b" 401 " in without
    assert rows(shop) == []
    assert 'stripe_sync_deliveries_total{outcome="rejected"} 7' in metrics


def ask_raw(server, body, headers, *, send=None):
    """A request as bytes, without what a library would add."""
    host = urlsplit(server.url)
    with socket.create_connection((host.hostname, host.port), 30) as connection:
        head = f"POST /webhooks/dbt-cloud HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}"
        length = "" if "Transfer-Encoding" in headers else f"Content-Length: {len(body)}\r\n"
        connection.sendall(f"{head}{length}\r\n".encode())
        try:
            for piece in send or [body]:
                connection.sendall(piece)
        except OSError:
            pass  # it has stopped to read
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def test_a_body_that_is_too_large_is_refused_with_or_without_a_length(shop, start):
    server = start()
    large = event(1, runReason="x" * 200_000)
    pieces = [b"%x\r\n%s\r\n" % (len(part), part) for part in (large[:100_000], large[100_000:])]

    at_once = server.deliver(large)
    in_pieces = ask_raw(
        server, large, f"Authorization: {sign(large)}\r\nTransfer-Encoding: chunked\r\n", send=[*pieces, b"0\r\n\r\n"]
    )
    server.stop()

    assert at_once.status == 413
    assert b" 413 " in in_pieces
    assert rows(shop) == []


def test_a_signed_body_that_is_not_an_event_is_refused(shop, start):
    server = start()
    bodies = [b"", b"[]", b"3", b"{", b'{"eventType": "job.run.completed", "data": 3}', event(0), event(-1)]
    bodies += [event(1, id=""), event(1, id="x" * 500), event("1; drop"), event(1) + b"}", b"\xff\xfe", b'"x"']
    bodies += [
        event(10**40),
        event(1, jobId=10**40),
        event(1, runId=1e300),
        event(1, jobId={}),
        event(1, runStatusCode=[]),
    ]

    statuses = [server.deliver(body).status for body in bodies]
    server.stop()

    assert statuses == [400] * len(bodies)
    assert rows(shop) == []


def test_events_that_need_no_sync_are_answered_and_ignored(shop, start):
    server = start("--job", "7")
    others = [
        event(1, kind="job.run.started", runStatus="Running", runStatusCode=3),
        event(1, kind="job.run.errored", runStatus="Errored", runStatusCode=20),
        event(1, runStatus="Cancelled", runStatusCode=CANCELLED),
        event(1, jobId="8"),
        event(1).replace(b'"accountId": 4321', b'"accountId": 9'),
        # The same before events had a code, and what the button that tests an endpoint may send.
        event(1, runStatus="Cancelled", runStatusCode=None),
        b'{"eventType": "job.run.started"}',
        b"{}",
    ]

    answers = [server.deliver(body) for body in others]
    server.stop()

    assert [answer.status for answer in answers] == [200] * len(others)
    assert {answer.json["status"] for answer in answers} == {"ignored"}
    assert rows(shop) == []


def test_a_run_followed_by_a_later_one_is_superseded_by_it(shop, start):
    early, late = shop.build(), shop.build()
    server = start()

    server.deliver(event(early.id, id="wev_early"))
    server.deliver(event(late.id, id="wev_late"))
    server.wait()
    server.stop()

    assert rows(shop, "id, state") == [("wev_early", "superseded"), ("wev_late", "succeeded")]


def test_deliveries_out_of_order_sync_only_the_latest_run(shop, start):
    """dbt Cloud repeats an early delivery for hours, and it arrives after that of the next run."""
    early, late = shop.build(), shop.build()
    server = start()

    server.deliver(event(late.id, id="wev_late"))
    server.wait()
    server.deliver(event(early.id, id="wev_early"))
    server.wait()
    server.stop()

    assert rows(shop, "id, state") == [("wev_late", "succeeded"), ("wev_early", "superseded")]


def test_a_run_retried_from_failure_is_synced_and_the_failed_one_is_skipped(shop, start):
    """dbt Cloud makes a run of its own for a retry, with the steps that failed or were skipped."""
    failed = shop.cloud.add_run(
        dbt("dbt build", ERROR, manifest=shop.manifest, run_results=results(customers="error")), status=ERROR
    )
    server = start()
    server.deliver(event(failed.id, id="wev_failed", runStatus="Errored", runStatusCode=20))
    server.wait()
    assert shop.stripe.count("customer") == 0
    retried = shop.cloud.add_run(
        dbt("dbt retry", manifest=shop.manifest, run_results=results("y", customers="success"))
    )

    server.deliver(event(retried.id, id="wev_retried"))
    server.deliver(event(failed.id, id="wev_failed", runStatus="Errored", runStatusCode=20))
    server.wait()
    server.stop()

    assert rows(shop, "id, state") == [("wev_failed", "partial"), ("wev_retried", "succeeded")]
    assert shop.stripe.count("customer") == 3


def test_the_first_event_format_is_accepted_too(shop, start):
    """Without `runStatusCode`, and with other names of what is not read."""
    run = shop.build()
    document = json.loads(event(run.id))
    del document["data"]["runStatusCode"], document["webhooksID"]
    server = start()

    answer = server.deliver(json.dumps({**document, "webhookId": "wsu_1"}).encode())
    server.wait()
    server.stop()

    assert answer.status == 202
    assert rows(shop) == [("wev_1", "succeeded", 1)]


def test_a_run_that_is_killed_in_mid_sync_leaves_no_second_object(shop, start):
    """The server and its sync are killed together, as a machine is, with calls under way."""
    run = shop.build()
    shop.stripe.inject(Fault.latency(3.0, method="POST", path="^/v1/customers", count=None))
    server = start()
    server.deliver(event(run.id))
    until(lambda: len(shop.stripe.writes()) > 0)
    syncs = [int(line) for line in children(server.process.pid)]

    server.stop(signal.SIGKILL)
    for sync in syncs:
        os.kill(sync, signal.SIGKILL)
    shop.stripe.clear_faults()
    again = start()
    again.wait()
    again.stop()

    assert syncs
    assert rows(shop) == [("wev_1", "succeeded", 2)]
    assert shop.stripe.count("customer") == 3


def children(process):
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def test_a_request_whose_body_never_arrives_blocks_no_other(shop, start):
    """A client that sends a byte a minute blocks no delivery, and is disconnected."""
    run = shop.build()
    server = start()
    host = urlsplit(server.url)
    slow = [socket.create_connection((host.hostname, host.port), 30) for _ in range(20)]
    for connection in slow:
        connection.sendall(b"POST /webhooks/dbt-cloud HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")

    assert server.deliver(event(run.id)).status == 202
    answers = [connection.recv(4096) for connection in slow]
    for connection in slow:
        connection.close()
    server.wait()
    server.stop()

    assert all(b" 408 " in answer for answer in answers)
    assert rows(shop) == [("wev_1", "succeeded", 1)]


def test_garbage_instead_of_http_is_rejected_and_the_server_continues(shop, start):
    run = shop.build()
    server = start()
    host = urlsplit(server.url)
    head = b"POST /webhooks/dbt-cloud HTTP/1.1\r\nHost: x\r\n"
    nonsense = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"GARBAGE\r\n\r\n",
        head + b"Content-Length: -1\r\n\r\n",
        head + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        head + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    ]

    for data in nonsense:
        with socket.create_connection((host.hostname, host.port), 30) as connection:
            connection.sendall(data)
            assert b" 400 " in connection.recv(4096), data[:80]
    assert server.get("/webhooks/dbt-cloud").status == 405
    assert server.deliver(event(run.id)).status == 202
    server.wait()
    server.stop()

    assert rows(shop) == [("wev_1", "succeeded", 1)]
    assert "Traceback" not in server.log.read_text()


def test_a_sync_that_fails_is_reported_and_the_next_is_tried_anyway(shop, start):
    run = shop.build()
    server = start()

    server.deliver(event(99_555, id="wev_bad"))
    server.deliver(event(run.id, id="wev_good"))
    server.wait()
    page = server.get("/").text
    server.stop()

    assert rows(shop, "id, state") == [("wev_bad", "failed"), ("wev_good", "succeeded")]
    assert "error[dbt-cloud-not-found]" in page
    assert "has no run 99555" in page


def test_no_secret_is_in_a_page_a_log_or_a_file(shop, start):
    run = shop.build()
    server = start()
    server.deliver(event(run.id))
    server.deliver(event(5, id="wev_2"))
    server.wait()
    texts = [server.get(path).text for path in ("/", "/metrics", "/healthz", "/runs/1/log", "/runs/1/report")]
    server.stop()

    texts += [server.log.read_text()]
    folder = shop.root / ".stripe_sync" / "serve"
    texts += [path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()]
    for secret in (SECRET, TOKEN, shop.stripe.api_key, "a@example.com"):
        assert not any(secret in text for text in texts), secret


# ── who may look ─────────────────────────────────────────────────────────────────────────────────────────────────

PAGES = ("/", "/metrics", "/runs/1/log", "/runs/1/report")


def test_pages_are_local_only_unless_there_is_a_password(shop, start):
    run = shop.build()
    server = start()
    server.deliver(event(run.id))
    server.wait()

    assert [server.get(path).status for path in PAGES] == [200] * 4
    for headers in (
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"Host": "evil.example"},
        {"Host": "[::1"},
    ):
        assert [server.get(path, **headers).status for path in PAGES] == [403] * 4
        assert server.get("/healthz", **headers).status == 200


def test_a_password_gives_access_from_other_machines(start):
    server = start("--host", "0.0.0.0", DBT_STRIPE_SYNC_SERVE_PASSWORD="correct horse")  # noqa: S104 - in a test
    server.url = server.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
    basic = {name: base64.b64encode(f"me:{name}".encode()).decode() for name in ("correct horse", "wrong")}

    assert server.get("/").status == 401
    assert server.get("/", Authorization=f"Basic {basic['wrong']}").status == 401
    assert server.get("/", Authorization="Basic not base64!").status == 401
    assert server.get("/", Authorization=f"Basic {basic['correct horse']}", Host="sync.example.com").status == 200
    assert server.get("/healthz").status == 200


def test_without_a_password_other_machines_cannot_see_pages(start):
    server = start("--host", "0.0.0.0")  # noqa: S104 - in a test
    server.url = server.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104

    assert server.get("/").status == 403
    assert "DBT_STRIPE_SYNC_SERVE_PASSWORD" in server.get("/").text


def test_nothing_of_a_delivery_is_executed_in_the_page(start):
    server = start()
    server.deliver(event(555, jobName="<script>alert(1)</script>"))
    server.wait()
    answer = server.get("/")

    assert "<script" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_no_other_file_can_be_requested(start):
    server = start()

    for path in ("/runs/../../x", "/runs/1/..%2f..%2fdev.duckdb", "/runs/1/secret", "/queue.sqlite3"):
        assert server.get(path).status == 404


# ── starting ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_everything_missing_is_reported_at_once(shop, monkeypatch):
    for name in ("DBT_CLOUD_WEBHOOK_SECRET", "DBT_CLOUD_API_TOKEN", "DBT_CLOUD_ACCOUNT_ID"):
        monkeypatch.delenv(name)

    ran = shop.cli("serve")

    assert ran.exit_code == 2
    assert ran.err.count("error[") == 3
    assert "DBT_CLOUD_WEBHOOK_SECRET is not set" in ran.text


def test_two_servers_do_not_share_a_queue(shop, start):
    start()

    ran = shop.cli("serve", "--port", "0")

    assert ran.exit_code == 2
    assert "error[serve-in-use]" in ran.text


def test_a_port_in_use_is_reported(shop, start):
    port = urlsplit(start().url).port

    ran = shop.cli("serve", "--port", str(port), "--folder", str(shop.root / "other"))

    assert ran.exit_code == 2
    assert f"error[serve-address]: port {port} of 127.0.0.1 can't be used" in ran.text


def test_help_says_which_secret_verifies_a_delivery():
    assert "DBT_CLOUD_WEBHOOK_SECRET" in run_cli("serve", "--help").text


def test_prometheus_can_parse_the_metrics(shop, start):
    run = shop.build()
    server = start()
    empty = list(parser.text_string_to_metric_families(server.get("/metrics").text))
    server.deliver(event(run.id))
    server.wait()
    server.deliver(event(99_999, id="wev_2"))
    server.deliver(b"{")
    server.wait()
    text = server.get("/metrics").text

    families = {family.name: family for family in parser.text_string_to_metric_families(text)}

    # Before the first sync, too, each counter is there at 0, so that the first failure is an increase.
    counters = [sample for family in empty if family.type == "counter" for sample in family.samples]
    assert len(counters) >= 12
    assert {sample.value for sample in counters} == {0}
    assert len(families) == text.count("# TYPE ") == text.count("# HELP ")
    assert {s.labels["status"]: s.value for s in families["stripe_sync_runs"].samples} == {
        "succeeded": 1,
        "partial": 0,
        "failed": 1,
        "superseded": 0,
    }
    assert {s.labels["outcome"]: s.value for s in families["stripe_sync_deliveries"].samples}["rejected"] == 1

    assert all(name.startswith("stripe_sync_") for name in families)
    assert {s.labels["status"]: s.value for s in families["stripe_sync_changes"].samples}["succeeded"] == 3
    assert families["stripe_sync_last_success_timestamp_seconds"].samples[0].value > 1_700_000_000
    assert all(family.documentation for family in families.values())


# ── the signature ────────────────────────────────────────────────────────────────────────────────────────────────


@given(body=st.binary(max_size=200), other=st.binary(max_size=200), header=st.text(max_size=80))
def test_only_a_signature_of_the_exact_body_is_valid(body, other, header):
    assert is_signed(body, sign(body), SECRET)
    assert is_signed(body, sign(body).upper(), SECRET)
    assert is_signed(body, sign(other), SECRET) is (body == other)
    assert is_signed(body, header, SECRET) is (header.strip().lower() == sign(body))
    assert not is_signed(body, None, SECRET)
    assert not is_signed(body, sign(body), SECRET + "x")
