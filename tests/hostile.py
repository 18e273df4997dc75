"""Answers that are not Stripe's, and a server that sends them: alone, or between the program and the local Stripe."""

from __future__ import annotations

import http.client
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSED_ON = {"content-type", "request-id", "idempotent-replayed", "idempotency-key"}
HOP_BY_HOP = {"host", "content-length", "connection", "accept-encoding", "transfer-encoding"}


@dataclass(frozen=True)
class Said:
    """An answer. `to` is where a redirect leads: to a `stranger`, or back to where the request came (`same`)."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    to: str | None = None


def says(value: object, status: int = 200) -> Said:
    """An answer in JSON."""
    return Said(status=status, body=json.dumps(value).encode())


ANSWERS: dict[str, Said] = {
    **{f"a {status} to a stranger": Said(status=status, to="stranger") for status in (301, 302, 303, 307, 308)},
    **{f"a {status} to the same place": Said(status=status, to="same") for status in (301, 302, 303, 307, 308)},
    "a 304": Said(status=304),
    "a 300 without a place": Said(status=300),
    "an empty object": says({}),
    "nothing": Said(),
    "a 204": Said(status=204),
    "a page": Said(body=b"<html>Welcome to the airport</html>"),
    "a page that is forbidden": Said(status=403, body=b"<html>Forbidden</html>"),
    "a page that is not found": Said(status=404, body=b"<html>Not found</html>"),
    "a list of nothing": says([]),
    "a text": says("ok"),
    "a number": says(1),
    "null": says(None),
    "half an object": Said(body=b'{"id": "cus_'),
    "no UTF-8": Said(body=b'{"id": "\xff"}'),
    "a deep nest": Said(body=b"[" * 100_000),
    "an error that says that all is well": says({"error": {"type": "api_error", "message": "no"}}),
    "an error beside an object": says({"id": "cus_1", "object": "customer", "error": {}}),
    "an error of somebody else": says({"error": "denied"}, status=400),
    "an error of nobody": says({}, status=404),
    "an error that is a list": says({"error": [1]}, status=400),
    "an error that is a number": says({"error": 5}, status=402),
    "a message of somebody else": says({"message": "no such route"}, status=404),
    "an id that is a number": says({"id": 1, "object": "customer"}),
    "no id": says({"object": "customer", "id": None}),
    "an empty id": says({"object": "customer", "id": ""}),
    "another resource": says({"id": "txr_1", "object": "tax_rate"}),
    "an id of another kind": says({"id": "txr_1", "object": "customer"}),
    "another object of the kind": says({"id": "cus_other", "object": "customer", "metadata": {}, "deleted": True}),
    "the other mode": says({"id": "cus_1", "object": "customer", "livemode": True, "deleted": True}),
    "an object without its object": says({"id": "cus_1"}),
    "a list that is none": says({"object": "list", "data": {}, "has_more": False}),
    "a list of other things": says(
        {"object": "list", "data": [{"id": "txr_1", "object": "tax_rate"}], "has_more": False}
    ),
    "a list that does not say whether it ends": says({"object": "list", "data": []}),
}


@dataclass
class Between:
    """A server that passes requests on to `upstream`, but for those that match. Set `said` to let it lie.

    `count` is how many it answers itself, None for all. `met` are the lines of these, `strayed` the requests that a
    stranger got.
    """

    upstream: str | None = None
    url: str = ""
    stranger_url: str = ""
    said: Said | None = None
    matching: str = "."
    count: int | None = None
    met: list[str] = field(default_factory=list)
    strayed: list[str] = field(default_factory=list)

    def lie(self, said: Said, matching: str = ".", count: int | None = None) -> None:
        """Answer like this where `METHOD /path` matches."""
        self.said, self.matching, self.count, self.met = said, matching, count, []

    def be_honest(self) -> None:
        """Pass everything on."""
        self.said = None

    def answer_to(self, line: str) -> Said | None:
        is_hit = self.said is not None and re.search(self.matching, line)
        if not is_hit or (self.count is not None and len(self.met) >= self.count):
            return None
        self.met.append(line)
        return self.said


@contextmanager
def between(upstream: str | None = None) -> Iterator[Between]:
    """Such a server, with a stranger beside it."""
    state = Between(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            """Say nothing."""

        def handle_any(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = state.answer_to(f"{self.command} {self.path}")
            if said is None:
                status, headers, data = self.passed_on(body)
            else:
                status, data = said.status, said.body
                places = {"stranger": state.stranger_url, "same": state.url}
                headers = [*said.headers, *([("Location", places[said.to] + self.path)] if said.to else [])]
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            if status not in {204, 304}:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if status not in {204, 304}:
                self.wfile.write(data)

        def passed_on(self, body):
            parts = urlsplit(state.upstream)
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
            kept = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body=body or None, headers=kept)
            response = connection.getresponse()
            data = response.read()
            connection.close()
            return response.status, [pair for pair in response.getheaders() if pair[0].lower() in PASSED_ON], data

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - the names that http.server calls

    class Stranger(Handler):
        def handle_any(self):
            state.strayed.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - the names that http.server calls

    with _served(Handler) as state.url, _served(Stranger) as state.stranger_url:
        yield state


@contextmanager
def _served(handler: type) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
