"""The sandbox as a separate process: its URL, its controls, its data file."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
import stripe
from doc_blocks import blocks

from dbt_stripe_sync.sandbox import Fault, Sandbox


def control(url, path, method="GET", body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/_sandbox{path}", data, method=method)  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        return json.loads(answer.read())


def api_of(url):
    return stripe.StripeClient("sk_test_x", base_addresses={"api": url}, max_network_retries=0).v1


@pytest.fixture
def start(tmp_path):
    started = []

    def run(*args):
        command = [sys.executable, "-m", "dbt_stripe_sync.sandbox", "--data", str(tmp_path / "data"), *args]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process, process.stdout.readline().strip()

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_restarted_sandbox_has_its_objects_and_saved_answers(start):
    process, url = start()
    made = api_of(url).customers.create({"email": "a@example.com"}, {"idempotency_key": "k"})
    gone = api_of(url).customers.create({}).id
    api_of(url).customers.delete(gone)
    process.send_signal(signal.SIGKILL)
    process.wait()

    _, url = start()

    assert [c.id for c in api_of(url).customers.list({"email": "a@example.com"}).data] == [made.id]
    assert api_of(url).customers.create({"email": "a@example.com"}, {"idempotency_key": "k"}).id == made.id
    assert api_of(url).customers.retrieve(gone).deleted
    assert api_of(url).customers.create({}).id not in {made.id, gone}


def test_the_controls_work_on_a_sandbox_in_another_process(start):
    _, url = start()
    control(url, "/faults", "POST", Fault.cut().as_json())
    with pytest.raises(stripe.APIConnectionError):
        api_of(url).customers.create({"name": "Ada"})

    assert control(url, "/objects/customer?count=1") == {"count": 1}
    assert control(url, "/objects/customer")["data"][0]["name"] == "Ada"
    assert control(url, "/requests?writes=1")["data"][0]["params"] == {"name": "Ada"}
    before = control(url, "/clock")["now"]
    assert control(url, "/clock", "POST", {"advance": 3600})["now"] - before >= 3600
    control(url, "/reset", "POST")
    assert control(url, "/objects/customer?count=1") == {"count": 0}
    assert control(url, "/requests") == {"data": []}


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("/nothing", "GET", None, 404),
        ("/objects/nothing", "GET", None, 400),
        ("/faults", "POST", {"kind": "meteor"}, 400),
        ("/faults", "POST", {"method": "POST"}, 400),
        ("/clock", "POST", {"advance": -1}, 400),
    ],
)
def test_an_unknown_control_is_an_error(sandbox, path, method, body, status):
    with pytest.raises(urllib.error.HTTPError) as answer:
        control(sandbox.url, path, method, body)
    assert answer.value.code == status
    error = json.loads(answer.value.read())["error"]
    assert error
    assert path != "/faults" or "`kind` must be one of latency, status, rate_limited," in error
    answer.value.close()


def test_the_fault_on_the_page_can_be_injected(sandbox):
    (block,) = (block for block in blocks("sandbox.md") if "/_sandbox/faults" in block)
    given = json.loads(shlex.split(block)[2])

    control(sandbox.url, "/faults", "POST", given)

    (pending,) = control(sandbox.url, "/faults")["data"]
    assert pending.items() >= given.items()


def test_a_file_that_is_not_a_data_file_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary" * 100)
    with pytest.raises(ValueError, match="not a data file"):
        Sandbox(data_file=path)
    assert path.read_text() == "dear diary" * 100


def test_a_port_in_use_is_an_error(sandbox):
    with pytest.raises(OSError, match="address already in use"):
        Sandbox(port=int(sandbox.url.rsplit(":", 1)[1])).start()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/faults", b"[]"),
        ("/faults", b"\xff\xfe"),
        ("/faults", b"{"),
        ("/faults", b'{"kind": "status", "path": "("}'),
        ("/faults", b'{"kind": "status", "status": 99999}'),
        ("/faults", b'{"kind": "latency", "seconds": "1"}'),
        ("/faults", b'{"kind": "latency", "second": 1}'),
        ("/clock", b'{"advance": 1e300}'),
        ("/clock", b'{"advance": -1}'),
        ("/clock", b"{}"),
    ],
)
def test_an_invalid_control_is_refused_with_the_reason_and_changes_nothing(sandbox, path, body):
    before = control(sandbox.url, "/clock")["now"]
    request = urllib.request.Request(f"{sandbox.url}/_sandbox{path}", body, method="POST")  # noqa: S310 - loopback

    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)  # noqa: S310 - loopback

    assert refused.value.code == 400
    assert json.loads(refused.value.read())["error"]
    assert control(sandbox.url, "/faults")["data"] == []
    assert control(sandbox.url, "/clock")["now"] - before < 60
