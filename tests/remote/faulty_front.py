"""A proxy in front of a real object server: it passes requests on, and fails as networks and stores do.

The server behind it decides about every object; the proxy only breaks the way there and back.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

HOP = {"transfer-encoding", "connection", "content-length", "server", "date"}


@dataclass
class Fault:
    """What happens to requests whose line (`PUT /bucket/journal/000000000001`) matches, from `after` matches on.

    `status` is answered in the store's place, 0 cuts the connection, None passes the store's answer on. With
    `acts` the store carries the request out first. It happens `times` times, None without end, and only to each
    `every`th match.
    """

    match: str
    status: int | None = 0
    code: str = "InternalError"
    acts: bool = False
    seconds: float = 0.0
    after: int = 0
    every: int = 1
    times: int | None = None
    seen: int = 0
    done: int = 0

    def hits(self, line: str) -> bool:
        """Whether this one is hit; counts."""
        if not re.search(self.match, line):
            return False
        self.seen += 1
        if self.seen <= self.after or (self.seen - self.after - 1) % self.every or self.done == self.times:
            return False
        self.done += 1
        return True


@dataclass
class Front:
    """Use it as a context manager. `drop` names headers that are left out on the way to the server."""

    behind: str
    drop: frozenset[str] = frozenset()
    faults: list[Fault] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __enter__(self):
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.front = self
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def fail(self, match: str, status: int | None = 0, **facts) -> Fault:
        self.faults.append(Fault(match, status, **facts))
        return self.faults[-1]

    def fault_of(self, line: str) -> Fault | None:
        with self._lock:
            self.lines.append(line)
            return next((fault for fault in self.faults if fault.hits(line)), None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    front: Front

    def handle_error(self, *_):
        return  # a client that has gone


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _pass(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.front.fault_of(f"{self.command} {unquote(self.path)}")
        if fault is not None:
            time.sleep(fault.seconds)
        if fault is None or fault.status is None:
            return self._answer(*self._ask(body))
        if fault.acts:
            self._ask(body)
        if fault.status == 0:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        text = f"<?xml version='1.0'?><Error><Code>{fault.code}</Code><Message>no</Message></Error>".encode()
        return self._answer(fault.status, [("Content-Type", "application/xml")], text)

    def _ask(self, body):
        front = self.server.front
        server = http.client.HTTPConnection(urlsplit(front.behind).netloc, timeout=60)
        try:
            server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            # The host as it was signed.
            for name, value in self.headers.items():
                if name.lower() not in front.drop | {"connection"}:
                    server.putheader(name, value)
            server.endheaders(body or None)
            answer = server.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            server.close()

    def _answer(self, status, headers, text):
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP:
                self.send_header(name, value)
        if self.command == "HEAD":
            self.send_header("Content-Length", next((v for n, v in headers if n.lower() == "content-length"), "0"))
        else:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    # The names that the server looks for.
    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass  # noqa: N815

    def log_message(self, *_):
        return
