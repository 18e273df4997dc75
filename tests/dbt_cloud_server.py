"""dbt Cloud's Admin API v2 as its public documentation describes it (docs.getdbt.com/dbt-cloud/api-v2), over HTTP.

It holds jobs and runs, checks the token, wraps answers in `status` and `data`, and fails on demand.
"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ACCOUNT, TOKEN = "4321", "dbtc_SecretTokenThatNobodyMaySee"
QUEUED, STARTING, RUNNING, SUCCESS, ERROR, CANCELLED = 1, 2, 3, 10, 20, 30
WORDS = {1: "Queued", 2: "Starting", 3: "Running", 10: "Success", 20: "Error", 30: "Cancelled"}


@dataclass
class Step:
    """A step as dbt Cloud names it; `files` are its artifacts."""

    command: str
    files: dict[str, Any] = field(default_factory=dict)
    status: int = SUCCESS


@dataclass
class Run:
    id: int
    job: int
    steps: list[Step]
    status: int = SUCCESS
    message: str | None = None
    cause: str = "Kicked off from UI"
    # What the run will be, one state a look: [QUEUED, RUNNING, SUCCESS].
    ahead: list[int] = field(default_factory=list)


@dataclass
class Fault:
    """Hits the next requests whose line contains `match`. `status` 0 cuts the connection; `after` lets it act first."""

    match: str
    status: int
    times: int = 1
    after: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class DbtCloud:
    """Use it as a context manager; every method is safe from the test's thread."""

    def __init__(self) -> None:
        self.jobs: dict[int, list[Run]] = {}
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.next_run: Run | None = None
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def environment(self) -> dict[str, str]:
        return {"DBT_CLOUD_HOST": self.url, "DBT_CLOUD_ACCOUNT_ID": ACCOUNT, "DBT_CLOUD_API_TOKEN": TOKEN}

    def add_run(self, *steps: Step, job: int = 7, run: int | None = None, **facts: Any) -> Run:
        """A run with dbt Cloud's own first steps before those that are given."""
        added = Run(id=run or 900 + self._count(), job=job, steps=[*first_steps(), *steps], **facts)
        self.jobs.setdefault(job, []).append(added)
        return added

    def fail(self, match: str, status: int, **facts: Any) -> None:
        self.faults.append(Fault(match, status, **facts))

    def _count(self) -> int:
        return sum(len(runs) for runs in self.jobs.values())

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        line = f"{request.method} {request.path}"
        self.requests.append(f"{line}?{request.query_string}" if request.query_string else line)
        fault = next((f for f in self.faults if f.match in line), None)
        if fault is not None:
            fault.times -= 1
            if not fault.times:
                self.faults.remove(fault)
            if fault.after:
                await self._act(request)
            if fault.status == 0:
                request.transport.abort()
                return web.Response()
            return refusal(fault.status, "Something went wrong.", fault.headers)
        return await self._act(request)

    async def _act(self, request: web.Request) -> web.StreamResponse:  # noqa: C901, PLR0911 - one line an endpoint
        if request.headers.get("Authorization") not in {f"Token {TOKEN}", f"Bearer {TOKEN}"}:
            return refusal(401, f"Invalid token {request.headers.get('Authorization')}")
        parts = request.path.strip("/").split("/")
        if parts[:3] != ["api", "v2", "accounts"] or parts[3] != ACCOUNT:
            return refusal(404, "The requested resource was not found.")
        match parts[4:]:
            case ["jobs", job] if request.method == "GET" and int(job) in self.jobs:
                return answer({"id": int(job), "name": "Nightly", "execute_steps": ["dbt build"]})
            case ["jobs", job, "run"] if request.method == "POST" and int(job) in self.jobs:
                return answer(self._start(int(job), (await request.json())["cause"]), 200)
            case ["runs"]:
                return answer(self._list(request))
            case ["runs", run] if self._find(run):
                found = self._find(run)
                if found.ahead:
                    found.status = found.ahead.pop(0)
                return answer(self._json(found, request.query.get("include_related", "")))
            case ["runs", run, "artifacts"] if self._find(run):
                step = self._step(self._find(run), request)
                return answer(sorted(step.files)) if step and step.files else refusal(404, "Not found")
            case ["runs", run, "artifacts", *path] if self._find(run):
                step = self._step(self._find(run), request)
                name = "/".join(path)
                if step is None or name not in step.files:
                    return refusal(404, "The requested resource was not found.")
                content = step.files[name]
                return web.Response(text=content if isinstance(content, str) else json.dumps(content))
        return refusal(404, "The requested resource was not found.")

    def _find(self, run: str) -> Run | None:
        return next((r for runs in self.jobs.values() for r in runs if str(r.id) == run), None)

    def _step(self, run: Run, request: web.Request) -> Step | None:
        index = int(request.query.get("step", len(run.steps)))
        return run.steps[index - 1] if 0 < index <= len(run.steps) else None

    def _start(self, job: int, cause: str) -> dict[str, Any]:
        run = self.next_run or Run(id=0, job=job, steps=[])
        self.next_run = None
        run = Run(900 + self._count(), job, run.steps, QUEUED, run.message, cause, list(run.ahead))
        self.jobs[job].append(run)
        return self._json(run, "trigger")

    def _list(self, request: web.Request) -> list[dict[str, Any]]:
        assert request.query["order_by"] == "-id"
        runs = [run for runs in self.jobs.values() for run in runs]
        wanted = request.query.get("job_definition_id")
        runs = [run for run in runs if wanted in {None, str(run.job)}]
        runs.sort(key=lambda run: -run.id)
        related = request.query.get("include_related", "")
        return [self._json(run, related) for run in runs[: int(request.query.get("limit", 100))]]

    def _json(self, run: Run, related: str) -> dict[str, Any]:
        data = {
            "id": run.id,
            "job_definition_id": run.job,
            "job_id": run.job,
            "account_id": int(ACCOUNT),
            "status": run.status,
            "status_humanized": WORDS.get(run.status, "?"),
            "status_message": run.message,
            "is_complete": run.status >= SUCCESS,
            "is_success": run.status == SUCCESS,
            "is_error": run.status == ERROR,
            "is_cancelled": run.status == CANCELLED,
            "in_progress": run.status < SUCCESS,
            "href": f"https://cloud.getdbt.com/deploy/{ACCOUNT}/projects/1/runs/{run.id}",
            "git_sha": "0f1e2d",
            "run_steps": [],
            "trigger": None,
            "job": None,
        }
        if "run_steps" in related:
            data["run_steps"] = [
                {"id": index, "run_id": run.id, "index": index, "name": step.command, "status": step.status}
                for index, step in enumerate(run.steps, 1)
            ]
        if "trigger" in related:
            data["trigger"] = {"cause": run.cause}
        return data


def first_steps() -> list[Step]:
    return [
        Step("Clone git repository"),
        Step("Create profile from connection Warehouse"),
        Step("Invoke dbt with `dbt deps`"),
    ]


def dbt(command: str, status: int = SUCCESS, **files: Any) -> Step:
    """A step that invokes dbt; `manifest=` and `run_results=` are JSON files."""
    named = {f"{name}.json": content for name, content in files.pop("named", {}).items()}
    named |= {f"{name}.json": content for name, content in files.items() if name != "compiled"}
    named |= {f"compiled/{path}": sql for path, sql in files.get("compiled", {}).items()}
    return Step(f"Invoke dbt with `{command}`", named, status)


def results(invocation: str = "x", **statuses: str) -> dict[str, Any]:
    """A run_results.json; names are of models, or `test__x` of the tests."""
    nodes = {
        f"test.shop.{name.removeprefix('test__')}" if name.startswith("test__") else f"model.shop.{name}": status
        for name, status in statuses.items()
    }
    return {
        "metadata": {
            "dbt_schema_version": "https://schemas.getdbt.com/dbt/run-results/v6.json",
            "generated_at": "2026-01-01T00:00:01Z",
            "invocation_id": invocation,
        },
        "results": [{"unique_id": name, "status": status} for name, status in nodes.items()],
        "elapsed_time": 1.0,
    }


def answer(data: Any, code: int = 200) -> web.Response:
    status = {"code": code, "is_success": True, "user_message": "Success!", "developer_message": ""}
    return web.json_response({"status": status, "data": data}, status=code)


def refusal(code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    status = {"code": code, "is_success": False, "user_message": message, "developer_message": ""}
    return web.json_response({"status": status, "data": None}, status=code, headers=headers)
