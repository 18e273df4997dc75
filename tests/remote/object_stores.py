"""Real object servers on loopback, each in a separate process, with a new bucket for each test."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from obstore.store import AzureStore, GCSStore, S3Store

if TYPE_CHECKING:
    from collections.abc import Mapping

# `.ci/stores DIR` lays versitygw, fake-gcs-server and Azurite there.
STORES = os.environ.get("DBT_STRIPE_SYNC_TEST_STORES", "")
# Azurite's own, documented by Microsoft for everybody.
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
S3_KEYS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "testing-testing", "AWS_REGION": "us-east-1"}
SECONDS_TO_START = 60


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1)  # noqa: S310 - loopback
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@dataclass
class Server:
    """A server of objects. `environment` is what its user has to set."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, port: int) -> list[str]:
        """The command that serves at a port of loopback."""
        raise NotImplementedError

    def new_bucket(self) -> str:
        """Make a bucket, and give the URL of a state in it."""
        raise NotImplementedError

    def __enter__(self):
        port = free_port()
        self.folder.mkdir(parents=True)
        command = self.start(port)
        with (self.folder / "output.txt").open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **self.environment}
            )
        deadline = time.monotonic() + SECONDS_TO_START
        while not answers(f"http://127.0.0.1:{port}"):
            assert time.monotonic() < deadline, (self.folder / "output.txt").read_text()
            assert self.process.poll() is None, (self.folder / "output.txt").read_text()
            time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Let it answer nothing."""
        os.kill(self.process.pid, 19)

    def resume(self) -> None:
        """Let it answer again."""
        os.kill(self.process.pid, 18)


@dataclass
class S3(Server):
    """What speaks Amazon's protocol."""

    def at(self, port: int) -> None:
        self.environment = {**S3_KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}

    def client(self):
        """Amazon's own library, for what an administrator does."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id=S3_KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=S3_KEYS["AWS_SECRET_ACCESS_KEY"],
        )

    def new_bucket(self) -> str:
        name = f"states-{uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return f"s3://{name}/stripe/state"


@dataclass
class Moto(S3):
    """moto's server of S3, from PyPI."""

    def start(self, port: int) -> list[str]:
        self.at(port)
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


@dataclass
class Versity(S3):
    """versitygw over a folder: a server of S3 that is built to keep what it is given. A Go module."""

    def start(self, port: int) -> list[str]:
        self.at(port)
        kept, versions = self.folder / "kept", self.folder / "versions"
        kept.mkdir()
        versions.mkdir()
        keys = ["--access", S3_KEYS["AWS_ACCESS_KEY_ID"], "--secret", S3_KEYS["AWS_SECRET_ACCESS_KEY"]]
        return [
            program("versitygw"),
            *keys,
            "--port",
            f"127.0.0.1:{port}",
            "posix",
            "--versioning-dir",
            str(versions),
            str(kept),
        ]


@dataclass
class Azurite(Server):
    """Microsoft's server of Azure's blobs, from npm."""

    def start(self, port: int) -> list[str]:
        self.environment = {
            "AZURE_STORAGE_ACCOUNT_NAME": AZURITE_ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": AZURITE_KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}",
            "AZURE_ALLOW_HTTP": "true",
        }
        kept = self.folder / "kept"
        options = ["--silent", "--skipApiVersionCheck", "--location", str(kept)]
        return [program("azurite-blob"), *options, "--blobHost", "127.0.0.1", "--blobPort", str(port)]

    def new_bucket(self) -> str:
        name = f"states-{uuid4().hex[:12]}"
        make_container(self.environment, name)
        return f"az://{name}/stripe/state"


@dataclass
class Google(Server):
    """fake-gcs-server, a Go module, behind the part of Google's XML interface that it lacks."""

    def start(self, port: int) -> list[str]:
        account = self.folder / "account.json"
        address = f"http://127.0.0.1:{port}"
        # What the store's library takes for tests: no login, and another address.
        facts = {
            "gcs_base_url": address,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        account.write_text(json.dumps(facts))
        self.environment = {"GOOGLE_SERVICE_ACCOUNT": str(account), "GOOGLE_ALLOW_HTTP": "true"}
        return [sys.executable, str(Path(__file__).with_name("gcs_front.py")), str(port), program("fake-gcs-server")]

    def new_bucket(self) -> str:
        name = f"states-{uuid4().hex[:12]}"
        facts = json.loads(Path(self.environment["GOOGLE_SERVICE_ACCOUNT"]).read_text())
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{facts['gcs_base_url']}/storage/v1/b?project=tests",
            json.dumps({"name": name}).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10)  # noqa: S310
        return f"gs://{name}/stripe/state"


@dataclass
class Folder(Server):
    """No server: a folder."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return

    def new_bucket(self) -> str:
        return f"file://{self.folder}/{uuid4().hex[:12]}"


SERVERS: Mapping[str, type[Server]] = {
    "folder": Folder,
    "moto": Moto,
    "versitygw": Versity,
    "azurite": Azurite,
    "google": Google,
}


def program(name: str) -> str:
    for folder in ("go", "azurite/node_modules/.bin"):
        if (found := shutil.which(name, path=str(Path(STORES) / folder))) is not None:
            return found
    raise FileNotFoundError(name)


def make_container(environment: Mapping[str, str], name: str) -> None:
    """Azure's protocol for a new container, signed by the account's key."""
    import base64
    import hashlib
    import hmac
    from email.utils import formatdate

    account, key = environment["AZURE_STORAGE_ACCOUNT_NAME"], environment["AZURE_STORAGE_ACCOUNT_KEY"]
    date = formatdate(usegmt=True)
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06"}
    path = f"/{account}/{name}"
    named = "".join(f"{header}:{value}\n" for header, value in sorted(headers.items()))
    kind = "application/octet-stream"
    text = "PUT" + "\n" * 5 + kind + "\n" * 7 + named + f"/{account}{path}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), hashlib.sha256)).decode()
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{environment['AZURE_STORAGE_ENDPOINT']}/{name}?restype=container",
        b"",
        method="PUT",
        headers={**headers, "Authorization": f"SharedKey {account}:{signature}", "Content-Type": kind},
    )
    urllib.request.urlopen(request, timeout=10)  # noqa: S310


def store_of(url: str, environment: Mapping[str, str]):
    """A store, to look into it as a person would."""
    from urllib.parse import urlsplit

    from obstore.store import LocalStore

    parts = urlsplit(url)
    client: Any = {"allow_http": True}
    prefix = parts.path.strip("/")
    if parts.scheme == "file":
        return LocalStore(parts.path, mkdir=True)
    if parts.scheme == "gs":
        account = environment["GOOGLE_SERVICE_ACCOUNT"]
        return GCSStore(parts.netloc, prefix=prefix, client_options=client, service_account=account)
    if parts.scheme == "az":
        config: Any = {
            "account_name": environment["AZURE_STORAGE_ACCOUNT_NAME"],
            "account_key": environment["AZURE_STORAGE_ACCOUNT_KEY"],
            "endpoint": environment["AZURE_STORAGE_ENDPOINT"],
        }
        return AzureStore(parts.netloc, prefix=prefix, client_options=client, **config)
    return S3Store(
        parts.netloc,
        prefix=prefix,
        client_options=client,
        endpoint=environment["AWS_ENDPOINT_URL"],
        access_key_id=environment["AWS_ACCESS_KEY_ID"],
        secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region=environment["AWS_REGION"],
    )
