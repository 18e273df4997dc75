"""ClickHouse's engine behind the part of its HTTP interface that a client needs: queries in, any format out.

Runs in an environment with chdb: `python clickhouse_server.py PORT FOLDER`.
"""

from __future__ import annotations

import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chdb import session

ENGINE = session.Session(sys.argv[2])
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            self.answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            return
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.answer(body)

    def answer(self, body):
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        sql = "\n".join(part for part in (asked.get("query", [""])[0], body.decode()) if part).strip().rstrip(";")
        if not sql:
            self.send(200, b"Ok.\n")
            return
        form = self.headers.get("X-ClickHouse-Format") or asked.get("default_format", ["TabSeparated"])[0]
        head, *tail = sql.rsplit(None, 2)
        if len(tail) == 2 and tail[0].upper() == "FORMAT":
            sql, form = head, tail[1]
        with LOCK:
            try:
                if database := asked.get("database", [None])[0]:
                    ENGINE.query(f"USE {database}")
                found = ENGINE.query(sql, form).bytes()
            except Exception as error:  # noqa: BLE001 - the client gets it, whatever it is
                self.send(500, str(error).encode())
                return
        self.send(200, found or b"")

    def send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-ClickHouse-Summary", "{}")
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
