"""`dbt-stripe-sync serve` in a separate process, and dbt Cloud's deliveries to it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from business import ROOT
from dbt_cloud_server import ACCOUNT

SECRET = "wsu_TheWebhookSecretThatSignsDeliveries"


@dataclass
class Answer:
    status: int
    text: str
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Server:
    """`dbt-stripe-sync serve`, started on a free port."""

    def __init__(self, business: Any, *arguments: str, **environment: str) -> None:
        options = ["--project-dir", str(business.root), "--profiles-dir", str(business.root)]
        options += ["--stripe-url", business.stripe.url, "--port", "0", *arguments]
        self.log = business.root / "serve.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dbt_stripe_sync", "serve", *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env={**os.environ, **environment},
            )
        line = self.process.stdout.readline()
        assert "webhook:" in line, self.log.read_text()
        self.url = line.split()[0]

    def get(self, path: str, **headers: str) -> Answer:
        return ask(urllib.request.Request(self.url + path, headers=headers))  # noqa: S310 - our own server

    def deliver(self, body: bytes, signature: str | None = None, **headers: str) -> Answer:
        headers["Authorization"] = sign(body) if signature is None else signature
        headers.setdefault("Content-Type", "application/json")
        address = f"{self.url}/webhooks/dbt-cloud"
        return ask(urllib.request.Request(address, body, headers, method="POST"))  # noqa: S310 - our own server

    def wait(self, *, idle_seconds: float = 120) -> None:
        """Until nothing is queued or running."""
        until = time.monotonic() + idle_seconds
        while time.monotonic() < until:
            metrics = self.get("/metrics").text
            if "stripe_sync_queue_length 0\n" in metrics and "stripe_sync_run_active 0\n" in metrics:
                return
            time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


def ask(request: urllib.request.Request) -> Answer:
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own server
            return Answer(answer.status, answer.read().decode(), dict(answer.headers))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode(), dict(error.headers))


def sign(body: bytes) -> str:
    return hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


def event(run: int | str, *, id: str = "wev_1", kind: str = "job.run.completed", **data: Any) -> bytes:  # noqa: A002
    """A delivery as dbt Cloud's documentation shows it."""
    facts = {
        "jobId": "7",
        "jobName": "Daily Job (dbt build)",
        "runId": str(run),
        "environmentId": "1234",
        "environmentName": "Production",
        "dbtVersion": "1.11.0",
        "projectName": "Shop",
        "projectId": "167194",
        "runStatus": "Success",
        "runStatusCode": 10,
        "runStatusMessage": "None",
        "runReason": "Scheduled",
        "runStartedAt": "2026-01-31T19:28:07Z",
        "runFinishedAt": "2026-01-31T19:29:32Z",
    }
    head = {"accountId": int(ACCOUNT), "webhooksID": "wsu_12345abcde", "eventId": id, "eventType": kind}
    rest = {"timestamp": "2026-01-31T19:29:35.789265936Z", "webhookName": "sync", "data": {**facts, **data}}
    return json.dumps({**head, **rest}).encode()
