"""The connection to Stripe: certificates, proxies, ~/.netrc, addresses, and messages during a wait."""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager

import pytest
from hostile import between, says

from dbt_stripe_sync.model.calls import Verdict
from dbt_stripe_sync.model.errors import ConfigError, StripeError
from dbt_stripe_sync.stripe_api import gateway_http
from dbt_stripe_sync.stripe_api.gateway import Patience
from dbt_stripe_sync.stripe_api.gateway_http import find_proxy
from dbt_stripe_sync.stripe_api.keys import check_address

KEY = "sk_test_12345678"
MADE = says({"id": "cus_1", "object": "customer", "livemode": False})


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextmanager
def self_signed(folder):
    """A TLS server on this machine whose certificate nobody vouches for."""
    file = folder / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    done = subprocess.run(
        [*command, "-addext", "subjectAltName=DNS:localhost", "-keyout", "-", "-out", "-"],
        capture_output=True,
        check=True,
    )
    file.write_bytes(done.stdout)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    tries = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                tries.append(1)
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}", tries


def test_an_untrusted_certificate_is_reported_at_once_and_nothing_is_sent(connect, tmp_path):
    with self_signed(tmp_path) as (url, tries):
        caller = connect(url, KEY)
        with pytest.raises(StripeError) as caught:
            caller.account()
        answer = caller.send("customer", "create")
    problem = caught.value.problems[0]
    assert problem.code == "stripe-certificate"
    assert "self-signed" in problem.summary or "self signed" in problem.summary
    assert "SSL_CERT_FILE" in problem.hint
    assert (answer.verdict, answer.attempts, len(tries)) == (Verdict.UNKNOWN, 1, 2)


def test_netrc_is_not_used_for_stripe(connect, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("default login x password y\nmachine 0.0.0.0 login x password y\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with between() as server:
        server.lie(MADE)
        # An address that is not this machine's by name, as Stripe's is not.
        url = server.url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104 - a name for this machine that is not "local"
        assert connect(url, KEY).send("customer", "create").verdict is Verdict.DONE


def test_a_proxy_is_used_except_for_localhost(connect, monkeypatch):
    with between() as proxy:
        proxy.lie(MADE)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        answer = connect("http://stripe.example:8080", KEY).send("customer", "create")
    assert answer.verdict is Verdict.DONE
    assert proxy.met == ["POST http://stripe.example:8080/v1/customers"]


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128"}, "http://proxy.example:3128"),
        ({"HTTPS_PROXY": "proxy.example:3128"}, "http://proxy.example:3128"),
        ({"ALL_PROXY": "http://proxy.example:3128"}, "http://proxy.example:3128"),
        ({"HTTP_PROXY": "http://proxy.example:3128"}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": ".stripe.com"}, None),
        ({"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": "*"}, None),
    ],
)
def test_the_proxy_comes_from_the_environment(monkeypatch, variables, proxy):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_proxy("https://api.stripe.com") == proxy


@pytest.mark.parametrize("proxy", ["socks5://proxy.example:1080", "http://proxy.example:port", "http://", "http://[x"])
def test_an_unusable_proxy_is_reported_before_connecting(monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigError, match="bad-proxy"):
        find_proxy("https://api.stripe.com")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:99999",
        "http://localhost:0",
        "http://localhost:port",
        "http://[::1",
        "http://localhost:12111/v1",
        "https://api.stripe.com/v1?x=1",
        "https://sk_test_1@api.stripe.com",
        "https://api.stripe.com\\@evil.example",
        "http://local host",
        "http://localhost\x00",
        "https://api.stripe.com\r\nX: y",
    ],
)
def test_an_invalid_address_is_rejected_without_being_shown(url):
    with pytest.raises(ConfigError, match="bad-address") as caught:
        check_address(url, (), settings_file="dbt_project.yml")
    assert "sk_test" not in str(caught.value)


def test_after_five_seconds_the_wait_is_explained(connect, monkeypatch, caplog):
    monkeypatch.setattr(gateway_http, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(gateway_http, "_warned_at", float("-inf"))
    with socket.create_server(("127.0.0.1", 0)) as listener, caplog.at_level(logging.WARNING):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        connect(url, KEY, patience=Patience(answer_seconds=0.4)).send("customer", "create")
    assert "still waiting: connected to 127.0.0.1, but no answer after" in caplog.text
    assert KEY not in caplog.text


def test_a_proxys_password_is_not_shown(connect, monkeypatch, caplog):
    monkeypatch.setattr(gateway_http, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(gateway_http, "_warned_at", float("-inf"))
    with socket.create_server(("127.0.0.1", 0)) as listener, caplog.at_level(logging.WARNING):
        monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}")
        connect("http://stripe.example", KEY, patience=Patience(answer_seconds=0.4)).send("customer", "create")
    assert "through the proxy 127.0.0.1:" in caplog.text
    assert "secret" not in caplog.text
    assert base64.b64encode(b"user:secret").decode() not in caplog.text
