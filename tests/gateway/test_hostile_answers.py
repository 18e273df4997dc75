"""Every kind of call, answered by something that isn't Stripe: no such answer counts as done or as not found."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import Any

import pytest
from hostile import ANSWERS, Said, between, says
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbt_stripe_sync.model.calls import Call, Verdict
from dbt_stripe_sync.model.errors import StripeError
from dbt_stripe_sync.stripe_api import gateway_http
from dbt_stripe_sync.stripe_api.rate import METER_EVENT_STREAM
from dbt_stripe_sync.stripe_api.stream import SESSION, SESSION_ENDPOINT, STREAM

KEY = "sk_test_12345678"
TAGGED = {"metadata": {"dbt_stripe_sync": "shop/customers/1"}}
WRITES = {
    "create": ("customer", "create", None, {"name": "x", **TAGGED}),
    "update": ("customer", "update", "cus_1", {"name": "x"}),
    "delete": ("customer", "delete", "cus_1", {}),
    "action": ("invoice", "finalize_invoice", "in_1", {}),
    "cancel": ("subscription", "cancel", "sub_1", {}),
    "nested": ("customer.tax_id", "create", None, {"customer": "cus_1", "type": "eu_vat", "value": "DE1"}),
    "event": ("billing.meter_event", "create", None, {"event_name": "api", "identifier": "e1", "payload": {}}),
}
READS = {
    "retrieve": ("customer", "retrieve", "cus_1", {}),
    "list": ("customer", "list", None, {}),
    "search": ("customer", "search", None, {"query": "email:'x'"}),
}
POSTS: dict[str, Any] = {
    "stream": (METER_EVENT_STREAM, STREAM, {"events": []}, "token"),
    "session": (SESSION_ENDPOINT, SESSION, {}, None),
}
each_answer = pytest.mark.parametrize("answer", ANSWERS)


@pytest.fixture(scope="module")
def server():
    with between() as server:
        yield server


def send_each(caller, kinds):
    """All kinds of call at once, with their answers by name."""

    async def each():
        calls = (
            Call(resource=resource, operation=operation, target=target, params=params, idempotency_key=key)
            for key, (resource, operation, target, params) in kinds.items()
        )
        return await asyncio.gather(*map(caller.gateway.send, calls))

    return dict(zip(kinds, caller.do(each()), strict=True))


@each_answer
def test_an_answer_not_from_stripe_never_completes_a_write(connect, server, answer):
    server.lie(ANSWERS[answer])

    said = send_each(connect(server.url, KEY), WRITES)

    assert {kind: found.verdict for kind, found in said.items()} == dict.fromkeys(WRITES, Verdict.UNKNOWN)
    assert {found.failure.type for found in said.values()} <= {"not_stripe", "redirect"}
    assert not any(found.body for found in said.values())
    assert server.strayed == []
    assert {line.partition(" ")[0] for line in server.met} == {"POST", "DELETE"}, "a write that became a read"


@each_answer
def test_an_answer_not_from_stripe_never_decides_whether_an_object_exists(connect, server, answer):
    server.lie(ANSWERS[answer])

    said = send_each(connect(server.url, KEY), READS)

    assert {kind: found.verdict for kind, found in said.items()} == dict.fromkeys(READS, Verdict.UNKNOWN)
    assert {found.failure.code for found in said.values()} == {None}
    assert server.strayed == []


@each_answer
def test_an_answer_not_from_stripe_never_completes_a_streamed_event(connect, server, answer):
    server.lie(ANSWERS[answer])
    caller = connect(server.url, KEY)

    for endpoint, path, params, token in POSTS.values():
        said = caller.do(caller.gateway.post(endpoint, path, params, token=token))
        assert said.verdict is Verdict.UNKNOWN, path

    assert server.strayed == []


@each_answer
def test_an_answer_not_from_stripe_never_ends_a_list_or_names_an_account(connect, server, answer):
    server.lie(ANSWERS[answer])
    caller = connect(server.url, KEY)
    for ask in (lambda: caller.pages("customer"), caller.account):
        with pytest.raises(StripeError) as caught:
            ask()
        assert caught.value.problems[0].code == "stripe-unreachable"
    assert server.strayed == []


def test_reading_a_list_that_repeats_one_page_terminates(connect, server):
    page = [{"id": "cus_1", "object": "customer", "livemode": False}]
    server.lie(says({"object": "list", "data": page, "has_more": True}))
    with pytest.raises(StripeError, match="the same page again and again"):
        connect(server.url, KEY).pages("customer")


@pytest.mark.parametrize("length", [2, 3])
def test_reading_a_cyclic_list_terminates(connect, server, length, monkeypatch):
    bodies = cycle([{"id": f"cus_{n}", "object": "customer", "livemode": False} for n in range(length)])
    page = lambda _line: says({"object": "list", "data": [next(bodies)], "has_more": True})  # noqa: E731
    monkeypatch.setattr(server, "answer_to", page)
    with pytest.raises(StripeError, match="the same page again and again"):
        connect(server.url, KEY).pages("customer")


def test_a_deletion_counts_only_if_the_answer_confirms_it(connect, server):
    caller = connect(server.url, KEY)
    server.lie(says({"id": "cus_1", "object": "customer", "livemode": False}))
    assert caller.send("customer", "delete", "cus_1").verdict is Verdict.UNKNOWN
    server.lie(says({"id": "cus_1", "object": "customer", "deleted": True}))
    assert caller.send("customer", "delete", "cus_1").verdict is Verdict.DONE


def test_a_live_answer_to_a_test_key_is_rejected_and_vice_versa(connect, server):
    for key, livemode in ((KEY, True), ("sk_live_12345678", False)):
        server.lie(says({"id": "cus_1", "object": "customer", "livemode": livemode}))
        assert connect(server.url, key).send("customer", "create").verdict is Verdict.UNKNOWN
        server.lie(says({"id": "cus_1", "object": "customer", "livemode": not livemode}))
        assert connect(server.url, key).send("customer", "create").verdict is Verdict.DONE


def test_an_answer_must_have_the_id_that_the_mapping_sets(connect, server):
    caller = connect(server.url, KEY)
    for answered, verdict in (("tea", Verdict.DONE), ("coffee", Verdict.UNKNOWN), ("prod_1", Verdict.UNKNOWN)):
        server.lie(says({"id": answered, "object": "product"}))
        assert caller.send("product", "create", id="tea", name="Tea").verdict is verdict


def test_an_endless_answer_is_not_read_into_memory(connect, server, monkeypatch):
    monkeypatch.setattr(gateway_http, "MOST_BYTES", 100_000)
    server.lie(Said(body=b" " * 200_000 + b'{"id": "cus_1", "object": "customer"}'))
    said = connect(server.url, KEY).send("customer", "create")
    assert (said.verdict, said.failure.message) == (Verdict.UNKNOWN, "its answer is longer than any of Stripe's")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(["id", "object", "error", "data"]), part),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(status=st.sampled_from([200, 201, 202, 302, 400, 401, 402, 403, 404, 409, 429, 500]), body=JSON)
def test_no_answer_from_anything_else_counts_as_done_or_crashes(connect, server, status, body):
    server.lie(says(body, status=status))
    said = connect(server.url, KEY).send("customer", "create", metadata=TAGGED["metadata"])
    assert said.verdict is not Verdict.DONE
