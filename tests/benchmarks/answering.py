"""A server that answers every creation immediately, to measure how fast calls leave.

`python answering.py` prints its URL. It stores nothing and checks nothing; the local Stripe checks correctness.
"""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import Any
from urllib.parse import parse_qs

KINDS = {"customers": ("customer", "cus_"), "products": ("product", "prod_"), "coupons": ("coupon", "")}
KINDS |= {"tax_rates": ("tax_rate", "txr_")}
ACCOUNT: dict[str, object] = {"id": "acct_answering", "object": "account", "country": "DE", "default_currency": "eur"}
NUMBERS = count(1)


def answer(method: str, path: str, body: bytes) -> dict[str, object]:
    """What Stripe would answer, as far as anybody looks at it."""
    name = path.partition("?")[0].removeprefix("/v1/")
    if name == "account":
        return ACCOUNT
    if method == "GET":
        return {"object": "list", "data": [], "has_more": False, "url": f"/v1/{name}"}
    kind, prefix = KINDS[name]
    sent = {key: values[-1] for key, values in parse_qs(body.decode()).items()}
    metadata = {key[9:-1]: text for key, text in sent.items() if key.startswith("metadata[")}
    made = {"id": f"{prefix}{next(NUMBERS):014d}", "object": kind, "livemode": False, "created": 1_790_000_000}
    return made | {"metadata": metadata}


class Connection(asyncio.Protocol):
    """One connection that is kept alive."""

    def __init__(self) -> None:
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answers go this way."""
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self.rest += data
        while (end := self.rest.find(b"\r\n\r\n")) >= 0:
            head = self.rest[:end].decode()
            lower = head.lower()
            length = int(lower.split("content-length:")[1].split("\r\n")[0]) if "content-length:" in lower else 0
            if len(self.rest) < end + 4 + length:
                return
            body, self.rest = self.rest[end + 4 : end + 4 + length], self.rest[end + 4 + length :]
            method, path, _ = head.split(" ", 2)
            made = json.dumps(answer(method, path, body)).encode()
            lines = (
                "HTTP/1.1 200 OK",
                "Content-Type: application/json",
                f"Request-Id: req_{next(NUMBERS)}",
                f"Content-Length: {len(made)}",
            )
            self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + made)


async def main() -> None:
    """Serve until somebody ends the process."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
