"""The gateway against the sandbox, over HTTP and through the real SDK."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import contextmanager
from uuid import uuid4

import pytest
from msgspec.structs import replace

from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.clock import SystemClock
from dbt_stripe_sync.model.errors import StripeError
from dbt_stripe_sync.sandbox import Fault, Sandbox
from dbt_stripe_sync.sandbox import RateLimits as SandboxLimits
from dbt_stripe_sync.stripe_api import gateway_http
from dbt_stripe_sync.stripe_api.gateway import Gateway, Patience
from dbt_stripe_sync.stripe_api.rate import RateLimits
from dbt_stripe_sync.stripe_api.retry import MOST_ATTEMPTS
from dbt_stripe_sync.stripe_api.sdk import api_version


@pytest.fixture
def key():
    return str(uuid4())


def customers_with(sandbox, name):
    return [found for found in sandbox.objects("customer") if found["name"] == name]


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_nested_parameters_arrive_intact(stripe, key):
    made = stripe.send(
        "customer",
        "create",
        key=key,
        email="a+b@example.com",
        description=None,
        address={"city": "Zürich", "line2": None},
        preferred_locales=["de", "fr"],
        metadata={"a b": "x&y=z"},
        invoice_settings={"custom_fields": [{"name": "PO", "value": "1"}]},
    )
    assert made.verdict is Verdict.DONE
    assert made.body["email"] == "a+b@example.com"
    assert made.body["address"]["city"] == "Zürich"
    assert made.body["preferred_locales"] == ["de", "fr"]
    assert made.body["metadata"] == {"a b": "x&y=z"}
    assert made.body["invoice_settings"]["custom_fields"] == [{"name": "PO", "value": "1"}]
    assert made.request_id.startswith("req_")
    assert made.attempts == 1


def test_booleans_and_empty_text_arrive_intact(stripe, key):
    made = stripe.send("product", "create", key=key, name="Tea", active=False, description="green")
    assert made.body["active"] is False
    changed = stripe.send("product", "update", made.body["id"], key=key + "2", active=True, description="")
    assert (changed.body["active"], changed.body["description"]) == (True, None)


def test_the_ids_of_a_nested_resource_go_into_the_path(stripe, sandbox, key):
    owner = stripe.send("customer", "create", key=key, name="owner").body["id"]
    made = stripe.send("customer.tax_id", "create", key=key + "2", customer=owner, type="eu_vat", value="DE123456789")
    assert made.verdict is Verdict.DONE
    found = stripe.read("customer.tax_id", "retrieve", made.body["id"], customer=owner)
    assert found.body["id"] == made.body["id"]
    gone = stripe.send("customer.tax_id", "delete", made.body["id"], key=key + "3", customer=owner)
    assert gone.body["deleted"] is True
    assert {line.path for line in sandbox.requests() if "tax_ids" in line.path} == {
        f"/v1/customers/{owner}/tax_ids",
        f"/v1/customers/{owner}/tax_ids/{made.body['id']}",
    }


def test_an_id_with_unusual_characters_stays_one_segment_of_the_path(stripe, key):
    made = stripe.send("coupon", "create", key=key, id="10% off, ever?", percent_off="10", duration="once")
    assert made.verdict is Verdict.DONE
    assert stripe.read("coupon", "retrieve", "10% off, ever?").body["id"] == "10% off, ever?"


def test_an_unknown_operation_is_a_programming_error(stripe):
    with pytest.raises(LookupError, match=r"customer\.frobnicate"):
        stripe.send("customer", "frobnicate")


# ── what comes back ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rejection_carries_stripes_own_words(stripe, key):
    answer = stripe.send("customer", "create", key=key, email="nonsense", color="red")
    assert answer.verdict is Verdict.REFUSED
    assert not answer.fatal
    assert answer.failure.status == 400
    assert answer.failure.type == "invalid_request_error"
    assert (answer.failure.code, answer.failure.param) == ("parameter_unknown", "color")
    assert answer.request_id.startswith("req_")


def test_a_missing_object_is_distinguished_from_a_missing_answer(stripe, sandbox):
    missing = stripe.read("customer", "retrieve", "cus_404")
    assert (missing.verdict, missing.failure.code) == (Verdict.REFUSED, "resource_missing")
    sandbox.inject(Fault.status_code(503, count=None))
    unasked = stripe.read("customer", "retrieve", "cus_404")
    assert (unasked.verdict, unasked.failure.code) == (Verdict.UNKNOWN, None)


@pytest.mark.parametrize(
    ("fault", "kind"), [(Fault.unauthorized(), "invalid_request_error"), (Fault.forbidden(), "permission")]
)
def test_a_rejected_key_is_fatal(stripe, sandbox, key, fault, kind):
    sandbox.inject(fault)
    answer = stripe.send("customer", "create", key=key, name="x")
    assert (answer.verdict, answer.fatal, answer.failure.type) == (Verdict.REFUSED, True, kind)


# ── nothing twice ────────────────────────────────────────────────────────────────────────────────────────────────

TRANSIENT = {
    "global limit": Fault.rate_limited("global-rate", count=2),
    "endpoint limit": Fault.rate_limited("endpoint-rate", count=2),
    "too many at once": Fault.rate_limited("endpoint-concurrency", count=2),
    "lock": Fault.lock_timeout(count=2),
    "key in use": Fault.conflict(count=2),
    "502": Fault.status_code(502, count=2),
    "503": Fault.status_code(503, count=2),
    "504 after the effect": Fault.status_code(504, after_effect=True, count=2),
    "cut before the effect": Fault.cut(after_effect=False, count=2),
    "cut after the effect": Fault.cut(after_effect=True, count=2),
    "a proxy's page": Fault.not_json(after_effect=True, count=2),
    "a proxy's error page": Fault.not_json(after_effect=False, status=502, count=2),
}


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_temporary_failure_creates_exactly_one_object(stripe, sandbox, key, name):
    sandbox.inject(TRANSIENT[name])
    answer = stripe.send("customer", "create", key=key, name=name)
    assert answer.verdict is Verdict.DONE
    assert answer.attempts in {2, 3}
    assert [found["id"] for found in customers_with(sandbox, name)] == [answer.body["id"]]


TURNED_AWAY = {
    "global limit": Fault.rate_limited("global-rate", count=None),
    "a resource's own limit": Fault.rate_limited("resource-specific", count=None),
    "lock": Fault.lock_timeout(count=None),
}


@pytest.mark.parametrize("name", TURNED_AWAY)
def test_a_persistent_429_is_a_rejection_without_effect_and_never_unknown(stripe, sandbox, clock, key, name):
    sandbox.inject(TURNED_AWAY[name])
    answer = stripe.send("customer", "create", key=key, name=f"turned away {name}")
    assert (answer.verdict, answer.attempts, answer.failure.status) == (Verdict.REFUSED, MOST_ATTEMPTS, 429)
    assert customers_with(sandbox, f"turned away {name}") == []
    assert 3 < sum(clock.slept) < 62


def test_a_429_is_sent_again_for_as_long_as_anything_else_gets_through(stripe, sandbox, key):
    sandbox.inject(Fault.rate_limited("resource-specific", path="customers", method="POST", count=3 * MOST_ATTEMPTS))

    async def both():
        slow = asyncio.create_task(
            stripe.gateway.send(
                Call(resource="customer", operation="create", params={"name": "at last"}, idempotency_key=key)
            )
        )
        while not slow.done():
            await stripe.gateway.send(Call(resource="product", operation="list", params={"limit": 1}))
        return await slow

    answer = stripe.do(both())
    assert (answer.verdict, answer.attempts) == (Verdict.DONE, 3 * MOST_ATTEMPTS + 1)
    assert len(customers_with(sandbox, "at last")) == 1


@pytest.mark.parametrize("name", TURNED_AWAY)
def test_a_429_does_not_settle_an_earlier_interrupted_attempt(stripe, sandbox, key, name):
    sandbox.inject(Fault.cut(after_effect=True))
    sandbox.inject(replace(TURNED_AWAY[name], skip=1))
    assert stripe.send("customer", "create", key=key, name="doubt").verdict is Verdict.UNKNOWN
    again = stripe.call(resource="customer", operation="create", idempotency_key=key + "2", repeated=True)
    assert again.verdict is Verdict.UNKNOWN


LASTING = {
    "key in use": Fault.conflict(count=None),
    "503": Fault.status_code(503, count=None),
    "cut before the effect": Fault.cut(after_effect=False, count=None),
    "cut after the effect": Fault.cut(after_effect=True, count=None),
    "a proxy's page": Fault.not_json(after_effect=True, count=None),
}


@pytest.mark.parametrize("name", LASTING)
def test_a_persistent_failure_leaves_a_write_unknown_and_never_rejected(stripe, sandbox, clock, key, name):
    sandbox.inject(LASTING[name])
    answer = stripe.send("customer", "create", key=key, name=f"lasting {name}")
    assert (answer.verdict, answer.attempts) == (Verdict.UNKNOWN, MOST_ATTEMPTS)
    assert len(customers_with(sandbox, f"lasting {name}")) <= 1
    assert 3 < sum(clock.slept) < 62


@pytest.mark.parametrize("name", [name for name in LASTING if name != "key in use"])
@pytest.mark.parametrize("seconds", [3, 300])
def test_calls_wait_out_an_outage_for_the_configured_time(sandbox, connect, key, name, seconds):
    sandbox.inject(LASTING[name])
    patient = connect(sandbox.url, sandbox.api_key, patience=Patience(outage_seconds=seconds))

    answer = patient.send("customer", "create", key=key, name=f"outage {name} {seconds}")

    assert answer.verdict is Verdict.UNKNOWN
    assert (answer.attempts > MOST_ATTEMPTS) is (seconds == 300)
    assert len(customers_with(sandbox, f"outage {name} {seconds}")) <= 1


def test_the_cause_of_an_outage_is_shown_while_waiting(sandbox, connect, key, caplog, monkeypatch):
    monkeypatch.setattr(gateway_http, "_warned_at", float("-inf"))
    monkeypatch.setattr(logging.getLogger("dbt_stripe_sync"), "propagate", True)
    sandbox.inject(Fault.status_code(503, count=None))
    patient = connect(sandbox.url, sandbox.api_key, patience=Patience(outage_seconds=60))

    patient.send("customer", "create", key=key)

    assert "still trying to reach 127.0.0.1" in caplog.text
    assert "it answers 503" in caplog.text


def test_a_500_saved_under_its_key_is_not_retried(stripe, sandbox, key):
    sandbox.inject(Fault.status_code(500))
    answer = stripe.send("customer", "create", key=key, name="half")
    assert (answer.verdict, answer.attempts, answer.failure.status) == (Verdict.UNKNOWN, 1, 500)


def test_a_read_that_gets_a_500_is_retried(stripe, sandbox, key):
    made = stripe.send("customer", "create", key=key, name="read me").body["id"]
    sandbox.inject(Fault.status_code(500, method="GET"))
    assert stripe.read("customer", "retrieve", made).verdict is Verdict.DONE


def test_stripes_advice_on_retries_is_followed(stripe, sandbox, key):
    sandbox.inject(Fault(kind=Fault.lock_timeout().kind, should_retry=False))
    assert stripe.send("customer", "create", key=key, name="no").attempts == 1
    sandbox.inject(Fault(kind=Fault.status_code().kind, status=500, should_retry=True))
    # The second try gets the saved answer, which says that it is one: there is no third.
    assert stripe.send("customer", "create", key=key + "2", name="yes").attempts == 2


def test_a_write_without_a_key_is_retried_only_if_it_cannot_have_taken_effect(stripe, sandbox):
    sandbox.inject(Fault.rate_limited())
    assert stripe.send("customer", "create", key=None, name="turned away").attempts == 2
    sandbox.inject(Fault.cut(after_effect=True))
    answer = stripe.send("customer", "create", key=None, name="cut")
    assert (answer.verdict, answer.attempts) == (Verdict.UNKNOWN, 1)
    assert len(customers_with(sandbox, "cut")) == 1


def test_a_rejected_key_does_not_settle_an_earlier_interrupted_attempt(stripe, sandbox, key):
    sandbox.inject(Fault.cut(after_effect=True))
    sandbox.inject(Fault.forbidden(skip=1))
    answer = stripe.send("customer", "create", key=key, name="doubt")
    assert (answer.verdict, answer.fatal, answer.attempts) == (Verdict.UNKNOWN, True, 2)


def test_a_rejected_key_does_not_settle_what_an_earlier_run_sent(stripe, sandbox, key):
    sandbox.inject(Fault.forbidden())
    again = stripe.call(resource="customer", operation="create", idempotency_key=key, repeated=True)
    assert (again.verdict, again.fatal) == (Verdict.UNKNOWN, True)


def test_a_key_reused_for_something_else_leaves_the_write_unknown(stripe, key):
    stripe.send("customer", "create", key=key, name="one")
    answer = stripe.send("customer", "create", key=key, name="two")
    assert (answer.verdict, answer.failure.type) == (Verdict.UNKNOWN, "idempotency_error")


def test_the_same_key_gets_the_first_answer_again(stripe, key):
    first = stripe.send("customer", "create", key=key, name="again")
    second = stripe.send("customer", "create", key=key, name="again")
    assert second.verdict is Verdict.DONE
    assert first.body == second.body


@contextmanager
def server_that_says(*answers):
    """A server that reads one request a connection and says one of these in turn, then hangs up."""
    received = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            for said in answers:
                connection, _ = listener.accept()
                with connection:
                    received.append(connection.recv(65536))
                    connection.sendall(said)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", received
        thread.join(timeout=5)


def http(body, status="200 OK", length=None):
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


def test_a_truncated_answer_is_requested_again_under_the_same_key(connect, key):
    whole = b'{"id": "cus_1", "object": "customer"}'
    with server_that_says(http(whole[:5], length=len(whole)), http(b""), http(b"[]"), http(whole)) as (url, received):
        answer = connect(url, "sk_test_12345678").send("customer", "create", key=key, name="x")
    assert (answer.verdict, answer.attempts, answer.body["id"]) == (Verdict.DONE, 4, "cus_1")
    assert all(f"idempotency-key: {key}".encode() in request.lower() for request in received)


def test_every_request_names_the_pinned_api_version(connect, key):
    with server_that_says(http(b'{"id": "cus_1", "object": "customer"}')) as (url, received):
        connect(url, "sk_test_12345678").send("customer", "create", key=key)
    assert f"Stripe-Version: {api_version()}".encode() in received[0]


def test_a_proxys_error_page_never_counts_as_a_rejection(connect, key):
    with server_that_says(http(b"<html>Forbidden</html>", status="403 Forbidden")) as (url, _):
        answer = connect(url, "sk_test_12345678").send("customer", "create", key=key)
    assert (answer.verdict, answer.failure.type) == (Verdict.UNKNOWN, "not_stripe")


def test_waiting_for_an_answer_has_a_time_limit(connect, sandbox, key):
    sandbox.inject(Fault.hang(0.6, after_effect=True))
    patient = connect(sandbox.url, sandbox.api_key, patience=Patience(answer_seconds=0.3))
    answer = patient.send("customer", "create", key=key, name="slow")
    assert answer.attempts > 1
    assert len(customers_with(sandbox, "slow")) == 1


def test_a_closed_port_leaves_a_write_unknown(connect, key):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nobody = connect(f"http://127.0.0.1:{port}", "sk_test_12345678")
    answer = nobody.send("customer", "create", key=key)
    assert (answer.verdict, answer.attempts) == (Verdict.UNKNOWN, MOST_ATTEMPTS)
    assert answer.failure.type == "connection"
    assert answer.failure.message
    with pytest.raises(StripeError) as caught:
        nobody.account()
    problem = caught.value.problems[0]
    assert problem.code == "stripe-unreachable"
    assert problem.summary.startswith(f"http://127.0.0.1:{port} can't be reached")


# ── lists and accounts ───────────────────────────────────────────────────────────────────────────────────────────


def test_every_page_of_a_list_is_read_newest_object_first(stripe, key):
    made = [
        stripe.send("tax_rate", "create", key=f"{key}{i}", display_name=f"t{i}", percentage="1", inclusive=False)
        for i in range(7)
    ]
    pages = stripe.pages("tax_rate", limit=3)
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [found["id"] for page in pages for found in page] == [answer.body["id"] for answer in reversed(made)]


def test_an_empty_list_has_no_pages(stripe):
    assert stripe.pages("shipping_rate", limit=3) == []


def test_a_page_that_cannot_be_read_is_not_an_empty_page(stripe, sandbox):
    sandbox.inject(Fault.status_code(503, count=None))
    with pytest.raises(StripeError, match="stripe-read-failed"):
        stripe.pages("customer")


def test_the_account_belongs_to_the_key(stripe):
    account = stripe.account()
    assert account.id.startswith("acct_")
    assert account.livemode is False
    assert account.api_version


def test_a_key_without_access_to_its_account_learns_the_id_from_the_error(connect, sandbox):
    expected = connect(sandbox.url, sandbox.api_key).account().id
    sandbox.inject(Fault.forbidden(count=None))
    found = {connect(sandbox.url, key).account().id for key in ("rk_test_aaaaaaaaaaaa1", "rk_test_bbbbbbbbbbbb2")}
    assert found == {expected}


NAMELESS = b'{"error": {"type": "invalid_request_error", "message": "This key may not do that."}}'


def test_a_key_whose_account_is_unknown_needs_it_in_the_settings(connect):
    forbidden = http(NAMELESS, status="403 Forbidden")
    with server_that_says(forbidden, forbidden) as (url, _):
        with pytest.raises(StripeError) as caught:
            connect(url, "rk_test_aaaaaaaaaaaa1").account()
        assert caught.value.problems[0].code == "no-account"
        assert "rak_accounts_kyc_basic_read" in caught.value.problems[0].hint
        assert connect(url, "rk_test_aaaaaaaaaaaa1", account="acct_1Named").account().id == "acct_1Named"


def test_an_organizations_key_names_its_account_in_each_request(connect, key):
    made = http(b'{"id": "cus_1", "object": "customer"}')
    with server_that_says(made) as (url, received):
        connect(url, "sk_org_test_12345678", account="acct_1Named").send("customer", "create", key=key)
    assert b"Stripe-Context: acct_1Named" in received[0]


def test_a_key_that_stripe_does_not_know_is_a_problem_with_a_hint(connect, sandbox):
    with pytest.raises(StripeError) as caught:
        connect(sandbox.url, "sk_wrong_12345678").account()
    problem = caught.value.problems[0]
    assert problem.code == "stripe-auth"
    assert "dashboard.stripe.com/apikeys" in problem.hint


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_neither_key_nor_parameters_are_logged(stripe, sandbox, key, caplog, capfd):
    logging.getLogger().setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        stripe.send("customer", "create", key=key, email="secret.person@example.com")
        sandbox.inject(Fault.cut(after_effect=False, count=None))
        stripe.send("customer", "create", key=key, email="secret.person@example.com")
    told = caplog.text + "".join(capfd.readouterr()) + repr(stripe.gateway)
    assert sandbox.api_key not in told
    assert "secret" not in told


def test_requests_are_counted(stripe, sandbox, key):
    sandbox.inject(Fault.rate_limited(count=2))
    stripe.send("customer", "create", key=key, name="n")
    assert stripe.gateway.requests == 3


# ── rates, with the machine's own clock ──────────────────────────────────────────────────────────────────────────


def send_many(sandbox, limits, number):
    async def work():
        gateway = Gateway(sandbox.api_key, sandbox.url, limits, SystemClock())
        calls = [
            Call(resource=kind, operation="create", params=params, idempotency_key=str(uuid4()))
            for kind, params in (("customer", {}), ("product", {"name": "x"})) * (number // 2)
        ]
        answers = await asyncio.gather(*(gateway.send(call) for call in calls))
        await gateway.close()
        return answers

    return asyncio.run(work())


def test_a_pace_below_the_limit_gets_no_429():
    with Sandbox(rate_limits=SandboxLimits.stripe()) as sandbox:
        answers = send_many(sandbox, RateLimits.of_account(livemode=False, share=0.6), 30)
    assert {(answer.verdict, answer.attempts) for answer in answers} == {(Verdict.DONE, 1)}


def test_a_pace_above_the_limit_adapts_to_it():
    with Sandbox(rate_limits=SandboxLimits.stripe()) as sandbox:
        answers = send_many(sandbox, RateLimits(account=200, endpoint=200), 80)
        assert sandbox.count("customer") == sandbox.count("product") == 40
    assert {answer.verdict for answer in answers} == {Verdict.DONE}
    assert max(answer.attempts for answer in answers) > 1


def test_nothing_is_kept_in_the_home_folder_and_none_is_needed(stripe, monkeypatch, tmp_path):
    monkeypatch.setattr("stripe._telemetry_id._loaded", False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    stripe.account()
    assert list(tmp_path.iterdir()) == []

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda user: {}[user])
    assert stripe.account().id == "acct_sandbox"
