"""Records the tests' requests to the local Stripe and its answers for the contract tests, one of each shape."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from dbt_stripe_sync.sandbox.errors import ApiError
from dbt_stripe_sync.sandbox.forms import parse_form
from dbt_stripe_sync.sandbox.server import Front
from dbt_stripe_sync.sandbox.v2 import is_v2

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "DBT_STRIPE_SYNC_TEST_RECORD"
# Text that may be one of an enum's words, so that two answers with different ones have different shapes.
_WORD = re.compile(r"[a-z][a-z_]{0,30}\Z")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?\Z")
# Maps whose names and values are the user's own.
_OWN_NAMES = frozenset({"metadata", "payload"})


def start_recording(folder: Path) -> None:
    """From now on every local Stripe of this process appends what it accepted to a file of its own in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{os.getpid()}.jsonl"
    seen: set[str] = set()
    handle = Front.handle

    async def handle_and_record(front, request):
        answer = await handle(front, request)
        if answer.status == 200 and answer.content_type == "application/json":
            line = _line(front, request.method, request.path, request.rel_url.raw_query_string, await request.read())
            if line is not None and isinstance(answer, web.Response):
                _keep(file, seen, line, orjson.loads(answer.text))
        return answer

    Front.handle = handle_and_record


def _line(front, method, path, query, body) -> dict[str, Any] | None:
    if is_v2(path):
        # Stripe's mock and the specification that comes with it know API v1 alone.
        return None
    form = "&".join(part for part in (query, body.decode() if method != "GET" else "") if part)
    try:
        route, ids = front.service.route(method, path)
    except ApiError:
        return None
    # The mock and the specification care for no ids, and the mock's URLs take fewer letters than Stripe's.
    steps = ["{}" if step in ids.values() else step for step in path.split("/")]
    asked = {"endpoint": route.endpoint, "resource": route.resource, "method": method}
    return {**asked, "path": "/".join(steps), "form": form}


def _keep(file: Path, seen: set[str], line: dict[str, Any], answer: Any) -> None:
    asked = f"{line['endpoint']} {_shape_of_form(parse_form(line['form']))}"
    answered = f"{line['endpoint']} {shape_of(answer)}"
    if asked in seen and answered in seen:
        return
    kept = {**line, "new_request": asked not in seen, "answer": None if answered in seen else answer}
    seen.update((asked, answered))
    with file.open("a") as out:
        out.write(json.dumps(kept) + "\n")


def _shape_of_form(value: Any) -> str:
    if isinstance(value, dict):
        names = {f"{'0' if name.isdigit() else name}: {_shape_of_form(inner)}" for name, inner in value.items()}
        return f"{{{', '.join(sorted(names))}}}"
    if value in {"", "true", "false"}:
        return value or "empty"
    return "number" if _NUMBER.match(value) else "text"


def shape_of(value: Any, name: str = "") -> str:
    """The names, types and words of an answer: two answers of one shape are right or wrong together."""
    if isinstance(value, dict):
        if name in _OWN_NAMES:
            return f"{name} of {sorted({type(inner).__name__ for inner in value.values()})}"
        return f"{{{', '.join(f'{key}: {shape_of(value[key], key)}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{', '.join(sorted({shape_of(item) for item in value}))}]"
    return value if isinstance(value, str) and _WORD.match(value) else type(value).__name__
