"""The rules for every request: parameters, errors, keys, idempotency, pages, search."""

from __future__ import annotations

import pytest
import stripe


@pytest.mark.parametrize(
    ("params", "code", "param", "message"),
    [
        ({"foo": 1}, "parameter_unknown", "foo", "Received unknown parameter: foo"),
        ({"address": {"town": "X"}}, "parameter_unknown", "address[town]", "Received unknown parameter: address[town]"),
        ({"balance": "ten"}, "parameter_invalid_integer", "balance", "Invalid integer: ten"),
        ({"tax_exempt": "maybe"}, None, "tax_exempt", "Invalid tax_exempt: must be one of exempt, none, or reverse"),
        ({"address": "Paris"}, None, "address", "Invalid object"),
        ({"preferred_locales": "fr"}, None, "preferred_locales", "Invalid array"),
        (
            {"shipping": {"phone": "1"}},
            "parameter_missing",
            "shipping[address]",
            "Missing required param: shipping[address].",
        ),
        ({"email": "nobody"}, "email_invalid", "email", "Invalid email address: nobody"),
        ({"metadata": {"x" * 41: "1"}}, None, "metadata", "Metadata keys must be under 40 characters in length."),
        ({"metadata": {"note": "x" * 501}}, None, "metadata[note]", "Metadata values can have up to 500 characters"),
        ({"metadata": {str(n): "x" for n in range(51)}}, None, "metadata", "up to 50 metadata keys"),
    ],
)
def test_a_wrong_parameter_is_rejected_in_stripes_words(api, params, code, param, message):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.customers.create(params)

    assert refused.value.http_status == 400
    assert refused.value.code == code
    assert refused.value.param == param
    assert message in refused.value.user_message


def test_a_missing_parameter_is_named(api):
    with pytest.raises(stripe.InvalidRequestError, match="Missing required param: currency") as refused:
        api.prices.create({"unit_amount": 5})

    assert refused.value.code == "parameter_missing"
    assert refused.value.error.doc_url == "https://stripe.com/docs/error-codes/parameter-missing"


def test_an_unknown_object_and_an_unknown_url_are_404(api, connect):
    with pytest.raises(stripe.InvalidRequestError, match="No such customer: 'cus_none'") as missing:
        api.customers.retrieve("cus_none")
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL") as unknown:
        connect().raw_request("get", "/v1/nothing")

    assert (missing.value.http_status, missing.value.code, missing.value.param) == (404, "resource_missing", "id")
    assert unknown.value.http_status == 404


@pytest.mark.parametrize("key", ["sk_test_wrong", "nonsense", "pk_test_123"])
def test_a_wrong_key_is_401_and_not_repeated_in_the_answer(connect, key):
    with pytest.raises(stripe.AuthenticationError) as refused:
        connect(key).v1.customers.list()

    assert refused.value.http_status == 401
    assert f": {key}" not in str(refused.value)


def test_a_read_only_key_may_not_write(connect):
    reader = connect("rk_test_read1").v1
    reader.customers.list()
    with pytest.raises(stripe.PermissionError) as refused:
        reader.customers.create({})
    assert refused.value.http_status == 403


def test_modes_and_accounts_do_not_share_objects(connect, sandbox):
    live, other = connect("sk_live_x").v1, connect("sk_test_acct_other_1").v1
    assert live.customers.create({}).livemode is True
    other.customers.create({})
    other.customers.create({})

    assert sandbox.count("customer") == 0
    assert sandbox.count("customer", livemode=True) == 1
    assert sandbox.count("customer", account="acct_other") == 2
    assert other.accounts.retrieve_current().id == "acct_other"


def test_an_account_id_may_look_like_stripes(connect):
    client = connect("sk_test_acct_1AbCdEfGhIjKlMnO_1")

    assert client.v1.accounts.retrieve_current().id == "acct_1AbCdEfGhIjKlMnO"


def test_the_same_key_and_parameters_give_the_same_answer(api, sandbox):
    first = api.customers.create({"email": "a@example.com"}, {"idempotency_key": "k"})
    again = api.customers.create({"email": "a@example.com"}, {"idempotency_key": "k"})

    assert again.id == first.id
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.last_response.headers
    assert sandbox.count("customer") == 1
    assert [line.replayed for line in sandbox.writes()] == [False, True]


def test_a_key_with_other_parameters_is_an_idempotency_error(api):
    api.customers.create({"email": "a@example.com"}, {"idempotency_key": "k"})
    with pytest.raises(stripe.IdempotencyError) as refused:
        api.customers.create({"email": "b@example.com"}, {"idempotency_key": "k"})
    assert refused.value.http_status == 400


def test_a_key_is_forgotten_after_24_hours(api, clock, sandbox):
    first = api.customers.create({}, {"idempotency_key": "k"})
    clock.seconds += 24 * 3600 - 1
    assert api.customers.create({}, {"idempotency_key": "k"}).id == first.id
    clock.seconds += 1
    assert api.customers.create({}, {"idempotency_key": "k"}).id != first.id
    assert sandbox.count("customer") == 2


def test_a_failed_parameter_check_does_not_use_up_the_key(api):
    with pytest.raises(stripe.InvalidRequestError):
        api.customers.create({"balance": "x"}, {"idempotency_key": "k"})
    assert api.customers.create({"balance": 1}, {"idempotency_key": "k"}).balance == 1


def test_lists_can_be_paged_in_both_directions(api):
    made = [api.customers.create({}).id for _ in range(7)]
    newest_first = made[::-1]

    first = api.customers.list({"limit": 3})
    second = api.customers.list({"limit": 3, "starting_after": first.data[-1].id})
    back = api.customers.list({"limit": 2, "ending_before": second.data[-1].id})

    assert [c.id for c in first.data] == newest_first[:3]
    assert first.has_more
    assert [c.id for c in second.data] == newest_first[3:6]
    assert [c.id for c in back.data] == newest_first[3:5]
    assert back.has_more
    assert [c.id for c in api.customers.list({"limit": 2}).auto_paging_iter()] == newest_first


@pytest.mark.parametrize("limit", [0, 101])
def test_a_page_has_1_to_100_objects(api, limit):
    with pytest.raises(stripe.InvalidRequestError):
        api.customers.list({"limit": limit})


def test_lists_apply_their_filters(api, clock):
    a = api.customers.create({"email": "a@example.com"})
    clock.seconds += 10
    b = api.customers.create({"email": "b@example.com"})

    assert [c.id for c in api.customers.list({"email": "b@example.com"}).data] == [b.id]
    assert [c.id for c in api.customers.list({"created": {"lt": b.created}}).data] == [a.id]
    assert [c.id for c in api.customers.list({"created": {"gte": a.created}}).data] == [b.id, a.id]
    api.customers.update(a.id, {"email": "b@example.com"})
    assert [c.id for c in api.customers.list({"email": "b@example.com"}).data] == [b.id, a.id]


def test_search_lags_behind_and_then_catches_up(api, clock):
    made = api.customers.create({"email": "Ada@example.com", "metadata": {"user_id": "7"}})

    def find(query):
        return [c.id for c in api.customers.search({"query": query}).data]

    assert find("metadata['user_id']:'7'") == []
    clock.seconds += 1
    assert find("metadata['user_id']:'7'") == [made.id]
    api.customers.update(made.id, {"metadata": {"user_id": "8"}})
    assert find("metadata['user_id']:'7'") == [made.id]
    assert find("metadata['user_id']:'8'") == []
    clock.seconds += 1
    assert find("metadata['user_id']:'7'") == []
    assert find("metadata['user_id']:'8' AND email:'ada@EXAMPLE.com'") == [made.id]
    assert find("email~'example' -metadata['user_id']:'9'") == [made.id]
    assert find("metadata['gone']:null OR name:'x'") == [made.id]
    api.customers.delete(made.id)
    clock.seconds += 1
    assert find("email:'ada@example.com'") == []


@pytest.mark.parametrize("query", ["", "shoe_size:'9'", "email:'a' AND name:'b' OR name:'c'", "email='a'"])
def test_a_query_that_stripe_would_not_understand_is_rejected(api, query):
    with pytest.raises(stripe.InvalidRequestError):
        api.customers.search({"query": query})


def test_metadata_is_merged_by_key_and_can_be_cleared(api):
    made = api.customers.create({"metadata": {"a": "1", "b": "2"}})
    assert (api.customers.update(made.id, {"metadata": {"a": "", "c": "3"}}).metadata.to_dict()) == {"b": "2", "c": "3"}
    assert (api.customers.update(made.id, {"metadata": ""}).metadata.to_dict()) == {}


def test_expand_replaces_an_id_with_its_object(api):
    product = api.products.create({"name": "Gold"})
    price = api.prices.create({"product": product.id, "currency": "usd", "unit_amount": 1, "expand": ["product"]})
    assert price.product.name == "Gold"
    assert api.prices.list({"expand": ["data.product"]}).data[0].product.name == "Gold"
    assert api.prices.retrieve(price.id).product == product.id


def test_a_refused_request_changes_nothing(api, sandbox):
    with pytest.raises(stripe.InvalidRequestError):
        api.customers.create({"tax_id_data": [{"type": "eu_vat", "value": "x"}], "test_clock": "clock_none"})
    assert sandbox.count("customer") == 0
    assert sandbox.count("customer.tax_id") == 0
