"""Stripe's own mock, and the specification that comes with it."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator
from referencing import Registry
from referencing.jsonschema import DRAFT4

MODULE = "github.com/stripe/stripe-mock"
VERSION = "v0.203.0"
KEY = "sk_test_contract"
START_SECONDS = 60
_URI = "urn:stripe"


def go(*arguments: str) -> str:
    done = subprocess.run(["go", *arguments], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def install(folder: Path) -> tuple[Path, Path]:
    """The mock's program, and its specification from the module cache. A program on the path is taken as it is."""
    named = shutil.which("stripe-mock")
    if named is None:
        bin_folder = folder / "bin"
        done = subprocess.run(
            ["env", f"GOBIN={bin_folder}", "go", "install", f"{MODULE}@{VERSION}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        named = str(bin_folder / "stripe-mock")
    sources = json.loads(go("mod", "download", "-json", f"{MODULE}@{VERSION}"))["Dir"]
    return Path(named), Path(sources) / "embedded" / "openapi" / "spec3.json"


class Mock:
    """The mock, running."""

    def __init__(self, program: Path) -> None:
        with socket.socket() as http, socket.socket() as https:
            http.bind(("127.0.0.1", 0))
            https.bind(("127.0.0.1", 0))
            port, other = http.getsockname()[1], https.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        # Without an address of its own it takes port 12112 for HTTPS, which another one may have.
        command = [str(program), "-http-addr", f"127.0.0.1:{port}", "-https-addr", f"127.0.0.1:{other}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            if time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"stripe-mock did not start within {START_SECONDS} seconds")
            time.sleep(0.1)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def refusal(self, method: str, path: str, form: str) -> str | None:
        """Why the mock refuses a request; None where it accepts it."""
        url = self.url + path.replace("{}", "id_1")
        data = form.encode() if method == "POST" else None
        request = urllib.request.Request(  # noqa: S310 - loopback
            url if data is not None or not form else f"{url}?{form}",
            data,
            method=method,
            headers={"Authorization": f"Bearer {KEY}"},
        )
        try:
            urllib.request.urlopen(request).close()  # noqa: S310 - loopback
        except urllib.error.HTTPError as refused:
            with refused:
                return str(json.loads(refused.read())["error"]["message"])
        return None


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Specification:
    """The response schemas, as JSON Schema can judge them."""

    def __init__(self, file: Path) -> None:
        self._document = _with_nulls(json.loads(file.read_text()))
        self._validators: dict[tuple[str, str], Draft4Validator] = {}

    @cached_property
    def _operations(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {
            (method.upper(), re.sub(r"\{\w+\}", "{}", path)): operation
            for path, operations in self._document["paths"].items()
            for method, operation in operations.items()
        }

    @cached_property
    def _registry(self) -> Registry:
        return Registry().with_resource(_URI, DRAFT4.create_resource(self._document))

    def knows(self, method: str, path: str) -> bool:
        """Whether the operation is there and answers JSON."""
        return "application/json" in self._contents(method, path)

    def faults(self, method: str, path: str, answer: Any) -> list[str]:
        """What is wrong with an answer: the place, and why."""
        validator = self._validators.get((method, path))
        if validator is None:
            pointer = {"$ref": f"{_URI}#{self._pointer(method, path)}"}
            validator = self._validators[method, path] = Draft4Validator(pointer, registry=self._registry)
        return [f"{error.json_path}: {_deepest(error)}" for error in validator.iter_errors(answer)]

    def _contents(self, method: str, path: str) -> dict[str, Any]:
        operation = self._operations.get((method, path))
        return {} if operation is None else operation["responses"]["200"].get("content", {})

    def _pointer(self, method: str, path: str) -> str:
        found = next(p for p in self._document["paths"] if re.sub(r"\{\w+\}", "{}", p) == path)
        escaped = found.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
        return f"/paths/{escaped}/{method.lower()}/responses/200/content/application~1json/schema"


def _with_nulls(value: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema says that a value may be null as well."""
    if isinstance(value, list):
        return [_with_nulls(item) for item in value]
    if not isinstance(value, dict):
        # A reference inside of the document, from whatever document refers to it.
        return f"{_URI}{value}" if isinstance(value, str) and value.startswith("#/components/") else value
    plain = {name: _with_nulls(inner) for name, inner in value.items() if name != "nullable"}
    if value.get("nullable") is True:
        return {"anyOf": [plain, {"type": "null"}]}
    return plain


def _deepest(error: Any) -> str:
    while error.context:
        error = max(error.context, key=lambda inner: len(inner.absolute_path))
    return f"{error.json_path}: {error.message[:200]}"
