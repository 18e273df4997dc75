"""The sandbox answers programs on this machine, but no page in a browser."""

from __future__ import annotations

import base64
import http.client
from urllib.parse import urlsplit

import pytest

CONTROLS = [
    ("GET", "/_sandbox"),
    ("POST", "/_sandbox/faults"),
    ("GET", "/_sandbox/requests"),
    ("POST", "/_sandbox/reset"),
    ("GET", "/_sandbox/objects/customer"),
    ("GET", "/v1/customers"),
]


@pytest.fixture
def ask(sandbox):
    """The status of a request, with the headers that a browser would send."""
    where = urlsplit(sandbox.url)

    def send(method, path, **headers):
        connection = http.client.HTTPConnection(where.hostname, where.port)
        connection.putrequest(method, path, skip_host=True)
        given = {"Host": where.netloc, "Authorization": f"Bearer {sandbox.api_key}", "Content-Length": "0", **headers}
        for name, value in given.items():
            connection.putheader(name, value)
        connection.endheaders()
        status = connection.getresponse().status
        connection.close()
        return status

    return send


@pytest.mark.parametrize(("method", "path"), CONTROLS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:12111"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:1"},
        {"Origin": "http://evil.example", "Content-Type": "text/plain"},
    ],
)
def test_a_page_of_another_origin_gets_403(ask, sandbox, api, method, path, headers):
    api.customers.create({"email": "a@example.com"})
    assert ask(method, path, **headers) == 403
    assert sandbox.count("customer") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1.2.3"])
def test_programs_can_connect_by_any_loopback_name(ask, sandbox, host):
    port = urlsplit(sandbox.url).port
    assert ask("GET", "/_sandbox", Host=f"{host}:{port}") == 200
    assert ask("GET", "/_sandbox", Host=f"{host}:{port}", Origin=f"http://{host}:{port}") == 200


@pytest.mark.parametrize(
    ("given", "status"),
    [("{key}:", 200), ("{key}:anything", 200), ("{key}", 200), ("sk_test_wrong0000:", 401), ("", 401)],
)
def test_http_basic_authentication_works_as_documented(ask, sandbox, given, status):
    text = base64.b64encode(given.format(key=sandbox.api_key).encode()).decode()
    assert ask("GET", "/v1/customers", Authorization=f"Basic {text}") == status


def test_a_key_that_is_not_base64_is_invalid(ask):
    assert ask("GET", "/v1/customers", Authorization="Basic %%%") == 401
    assert ask("GET", "/v1/customers", Authorization="Digest abc") == 401
