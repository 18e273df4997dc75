"""Reads, conditionally writes, lists and removes small objects on a store. Every failure has a hint."""

from __future__ import annotations

import fcntl
import os
import re
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from msgspec import Struct, field

from dbt_stripe_sync.model.errors import StateError
from dbt_stripe_sync.state.remote import problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.state.place import RemotePlace

# Shorter than a lease, so that a store that doesn't answer ends the run before the lease expires.
RETRY_SECONDS = 15
ATTEMPTS = 5
REQUEST_SECONDS = 20
# A conditional write without an answer is retried until then, because the store's library doesn't retry it.
WRITE_SECONDS = 30
WRITE_PAUSE_SECONDS = 0.2
MANY_AT_ONCE = 1_000
LOCK = ".lock"


class TakenError(Exception):
    """Another writer was first."""


class Found(Struct, frozen=True, kw_only=True):
    """An object and the identifier of its version."""

    body: bytes
    tag: str


class Objects(Struct):
    """The objects below one folder of a store. Everything raises `StateError`; `requests` counts by kind."""

    place: RemotePlace
    _store: Any
    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("get", "put", "list", "delete"), 0))

    def get(self, name: str) -> Found | None:
        """An object, or None."""
        with self._failures("get"):
            try:
                found = self._store.get(name)
                return Found(body=bytes(found.bytes()), tag=self._tag_of(found.meta))
            except FileNotFoundError:
                return None

    def download(self, name: str, file: Path) -> bool:
        """Download an object to a file, and return whether it exists."""
        with self._failures("get"):
            try:
                chunks = self._store.get(name).stream()
            except FileNotFoundError:
                return False
            with file.open("wb") as target:
                for chunk in chunks:
                    target.write(chunk)
            return True

    def create(self, name: str, body: bytes) -> str:
        """Write an object that must not exist yet; returns its tag. Raises `TakenError`."""
        return self._put(name, body, None)

    def replace(self, name: str, body: bytes, tag: str) -> str:
        """Replace the version of an object with this tag; returns the new tag. Raises `TakenError`."""
        return self._put(name, body, tag)

    def upload(self, name: str, file: Path) -> None:
        """Upload a file to an object with a unique name."""
        with self._failures("put"):
            self._store.put(name, file)

    def names(self, folder: str) -> list[str]:
        """The names of the objects in a folder, in alphabetical order."""
        with self._failures("list"):
            names = [str(meta["path"]) for batch in self._store.list(f"{folder}/") for meta in batch]
        # Stores return lists in pages of this size.
        self.requests["list"] += len(names) // MANY_AT_ONCE
        return sorted(names)

    def remove(self, names: list[str]) -> None:
        """Remove objects, ignoring those that are already removed."""
        for first in range(0, len(names), MANY_AT_ONCE):
            with self._failures("delete"), suppress(FileNotFoundError):
                self._store.delete(names[first : first + MANY_AT_ONCE])

    @property
    def unused_tag(self) -> str:
        """A tag that no version of an object has."""
        return "1" if self._tag_name == "version" else '"no such version"'

    @property
    def _tag_name(self) -> str:
        # Google compares generations (cloud.google.com/storage/docs/request-preconditions), the others entity tags.
        return "version" if self.place.url.startswith("gs://") else "e_tag"

    def _tag_of(self, version: Mapping[str, Any]) -> str:
        return str(version[self._tag_name])

    def _put(self, name: str, body: bytes, tag: str | None) -> str:
        """Write on a condition, until the store's answer is known.

        A write whose answer got lost may have taken effect, or may still do so. Then the next attempt fails, and the
        object shows who wrote it, since no two writes have the same body.
        """
        deadline = time.monotonic() + WRITE_SECONDS
        pause = WRITE_PAUSE_SECONDS
        while True:
            try:
                written = self._put_once(name, body, tag)
            except StateError as error:
                if error.problems[0].code != problems.UNREACHABLE or time.monotonic() + pause > deadline:
                    raise
            else:
                if written is not None:
                    return written
                found = self.get(name)
                if found is not None and found.body == body:
                    return found.tag
                if (found.tag if found is not None else None) != tag:
                    raise TakenError(name)
                # It failed although no object is in the way: another attempt is still in progress there.
                if time.monotonic() + pause > deadline:
                    raise problems.unreachable(self.place, "it refuses a write that it should accept")
            time.sleep(pause)
            pause *= 2

    def _put_once(self, name: str, body: bytes, tag: str | None) -> str | None:
        """One conditional write; None if the store rejects it because of the condition."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._failures("put"):
            try:
                if tag is None:
                    return self._tag_of(self._store.put(name, body, mode="create", use_multipart=False))
                if (folder := folder_of(self.place)) is not None:
                    with _locked(folder / LOCK):
                        return self._put_file(name, body, tag)
                mode = {self._tag_name: tag}
                return self._tag_of(self._store.put(name, body, mode=mode, use_multipart=False))
            except (AlreadyExistsError, PreconditionError):
                return None
            except FileNotFoundError:
                if tag is not None:
                    return None  # somebody has removed it
                # Only where a folder or a bucket that it belongs to is not there.
                raise problems.no_bucket(self.place) from None

    def _put_file(self, name: str, body: bytes, tag: str) -> str:
        """A folder has no conditional overwrite, so the version is compared under a lock."""
        from obstore.exceptions import PreconditionError

        if str(self._store.head(name)["e_tag"]) != tag:
            raise PreconditionError(name)
        return str(self._store.put(name, body, use_multipart=False)["e_tag"])

    @contextmanager
    def _failures(self, kind: str) -> Iterator[None]:
        """Convert failures into problems with hints, and count the request."""
        from obstore.exceptions import (
            BaseError,
            NotSupportedError,
            PermissionDeniedError,
            UnauthenticatedError,
        )

        scheme = urlsplit(self.place.url).scheme
        self.requests[kind] += 1
        try:
            yield
        except (PermissionDeniedError, PermissionError) as error:
            if scheme != "file" and is_about_time(str(error)):
                raise problems.wrong_clock(self.place) from None
            raise problems.refused(self.place, scheme, is_known=True) from None
        except UnauthenticatedError:
            raise problems.refused(self.place, scheme, is_known=False) from None
        except (NotSupportedError, NotImplementedError):
            raise problems.no_conditions(self.place) from None
        except (BaseError, OSError, ValueError) as error:
            # An error of a folder contains its path, which may look like any of the signs.
            text = str(error) if scheme != "file" else ""
            if is_about_expiry(text):
                raise problems.expired(self.place, scheme) from None
            if is_about_credentials(text):
                raise problems.refused(self.place, scheme, is_known=False) from None
            if "NoSuchBucket" in text:
                raise problems.no_bucket(self.place) from None
            raise problems.unreachable(self.place, _reason(error)) from None


# The messages of the store's library if it finds no credentials, or can't use them: it has one class for every failure.
_CREDENTIAL_SIGNS = (
    # Where a machine's role is requested.
    "169.254.169.254",
    "/latest/api/token",
    "/latest/meta-data",
    "token request",
    "metadata.google.internal",
    "InstanceCredentials",
    "Missing AccessKeyId",
    "MissingAccessKeyId",
    "MissingSecretAccessKey",
    "credential",
    "Account must be specified",
    "AuthenticationFailed",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidKey",
)


# Amazon's errors for temporary credentials (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
_EXPIRY_SIGNS = ("ExpiredToken", "TokenRefreshRequired", "token has expired")
_TIME_SIGNS = ("RequestTimeTooSkewed", "Request date header too old")


def is_about_expiry(text: str) -> bool:
    """Whether a store's failure means that credentials have expired, by its text."""
    return any(sign.lower() in text.lower() for sign in _EXPIRY_SIGNS)


def is_about_time(text: str) -> bool:
    """Whether a store's failure means that this machine's clock is wrong, by its text."""
    return any(sign in text for sign in _TIME_SIGNS)


def is_about_credentials(text: str) -> bool:
    """Whether a store's failure is about credentials, by its text."""
    return any(sign.lower() in text.lower() for sign in _CREDENTIAL_SIGNS)


# What the operating system says about a file of a `file://` store, such as that its disk is full.
_SYSTEM_ERROR = re.compile(r": ([A-Z][a-z ]+) \(os error \d+\)")


def _reason(error: Exception) -> str:
    """What happened, without the addresses and the answer's body that the library includes in its messages."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    for sign, words in (
        ("timed out", "no answer in time"),
        ("error sending request", "it does not answer"),
        ("non-2xx status code: 5", "it answers with an error of its own"),
        ("non-2xx status code: 3", "it redirects: the region or the address is another one"),
    ):
        if sign in text:
            return words
    of_system = _SYSTEM_ERROR.search(text)
    return of_system[1].lower() if of_system else type(error).__name__


def folder_of(place: RemotePlace) -> Path | None:
    """The folder of a `file://` state; None for others."""
    parts = urlsplit(place.url)
    return Path(unquote(parts.path)) / place.target if parts.scheme == "file" else None


def open_objects(place: RemotePlace) -> Objects:
    """The objects of a state.

    Credentials come from the environment, under the names that each store's own tools use. Raises `StateError`.
    """
    try:
        from obstore.exceptions import BaseError
        from obstore.store import AzureStore, GCSStore, LocalStore, S3Store
    except ImportError:
        raise problems.not_installed(place) from None
    parts = urlsplit(place.url)
    prefix = "/".join(part for part in (parts.path.strip("/"), place.target) if part)
    client: dict[str, Any] = {"timeout": timedelta(seconds=REQUEST_SECONDS)}
    if os.environ.get("AWS_ALLOW_HTTP") or os.environ.get("AZURE_ALLOW_HTTP") or os.environ.get("GOOGLE_ALLOW_HTTP"):
        client["allow_http"] = True
    options: dict[str, Any] = {
        "client_options": client,
        "retry_config": {"max_retries": ATTEMPTS, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
    }
    store: Any
    try:
        if (folder := folder_of(place)) is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            store = LocalStore(folder)
        elif parts.scheme == "s3":
            store = S3Store(parts.netloc, prefix=prefix, **options, **_profile())
        elif parts.scheme == "gs":
            store = GCSStore(parts.netloc, prefix=prefix, **options)
        else:
            store = AzureStore(parts.netloc, prefix=prefix, **options)
    except PermissionError:
        raise problems.refused(place, parts.scheme, is_known=True) from None
    except (BaseError, OSError, ValueError) as error:
        if parts.scheme != "file" and is_about_credentials(str(error)):
            raise problems.refused(place, parts.scheme, is_known=False) from None
        raise problems.unreachable(place, _reason(error)) from None
    return Objects(place=place, _store=store)


def _profile() -> dict[str, Any]:
    """The credentials of a named AWS profile, which only boto3 can read."""
    if not os.environ.get("AWS_PROFILE") or os.environ.get("AWS_ACCESS_KEY_ID"):
        return {}
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return {}
    return {"credential_provider": Boto3CredentialProvider()}


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
