"""The meaning of each kind of answer."""

from __future__ import annotations

import pytest
from examples import up_to
from hypothesis import given, settings
from hypothesis import strategies as st

from dbt_stripe_sync.model.calls import Verdict
from dbt_stripe_sync.stripe_api.retry import Reply, build_answer, leaves_doubt, may_repeat, wait_seconds

STATUS = st.none() | st.integers(200, 599)
CODES = st.sampled_from([None, "idempotency_key_in_use", "lock_timeout", "rate_limit", "resource_missing"])
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "stripe-should-retry": st.sampled_from(["true", "false"]),
        "idempotent-replayed": st.just("true"),
    },
)
REPLIES = st.builds(
    lambda status, code, headers, is_json, sent: Reply(
        status=status,
        body={"error": {"type": "x", "code": code}} if status is not None and status >= 400 and is_json else {},
        headers=headers if status is not None else {},
        foreign=None if is_json or status is None else "it is not JSON",
        sent=sent or status is not None,
    ),
    STATUS,
    CODES,
    HEADERS,
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=up_to(500), deadline=None)
@given(REPLIES)
def test_a_write_without_a_key_is_never_repeated_if_it_may_have_taken_effect(reply):
    if may_repeat(reply, is_read=False, has_key=False):
        assert not leaves_doubt(reply)


@settings(max_examples=up_to(500), deadline=None)
@given(REPLIES, st.booleans())
def test_a_write_that_may_have_taken_effect_never_counts_as_rejected(reply, in_doubt):
    answer = build_answer(reply, is_read=False, in_doubt=in_doubt, attempts=1)
    if answer.verdict is Verdict.REFUSED:
        assert not leaves_doubt(reply)
        assert reply.foreign is None
        assert 400 <= reply.status < 500
        assert not (in_doubt and reply.status in {401, 403, 429})


@settings(max_examples=up_to(500), deadline=None)
@given(REPLIES)
def test_a_change_is_done_only_if_stripe_confirms_it(reply):
    answer = build_answer(reply, is_read=False, in_doubt=False, attempts=1)
    assert (answer.verdict is Verdict.DONE) == (
        reply.status is not None and reply.status < 300 and reply.foreign is None
    )
    assert (answer.failure is None) == (answer.verdict is Verdict.DONE)


@settings(max_examples=up_to(500), deadline=None)
@given(REPLIES)
def test_only_stripes_own_answer_can_reject_a_read(reply):
    answer = build_answer(reply, is_read=True, in_doubt=False, attempts=1)
    if answer.verdict is Verdict.REFUSED:
        assert reply.foreign is None
        assert 400 <= reply.status < 500
        assert reply.status != 429


@pytest.mark.parametrize("attempts", range(1, 12))
def test_backoff_grows_to_half_a_minute(attempts):
    longest = min(30.0, 0.5 * 2 ** (attempts - 1))
    assert all(0.05 * 2 ** min(attempts - 1, 5) <= wait_seconds(attempts) <= longest for _ in range(50))


@settings(max_examples=up_to(500), deadline=None)
@given(REPLIES)
def test_a_429_is_a_rejection_unless_its_key_is_in_use(reply):
    if reply.is_too_many:
        assert not leaves_doubt(reply) or reply.error.get("code") == "idempotency_key_in_use"
        answer = build_answer(reply, is_read=False, in_doubt=False, attempts=1)
        assert (answer.verdict is Verdict.REFUSED) == (not leaves_doubt(reply))
