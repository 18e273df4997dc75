"""Faults to inject, and the requests that they affect."""

from __future__ import annotations

import random
import re
from enum import Enum
from typing import Any

from msgspec import Struct, ValidationError, convert
from msgspec.structs import asdict

from dbt_stripe_sync.sandbox.errors import (
    ACCOUNT,
    ApiError,
    forbidden,
    lock_timeout,
    rate_limited,
    server_error,
    unauthorized,
)


class FaultKind(Enum):
    """The ways in which a request can fail."""

    LATENCY = "latency"
    STATUS = "status"
    RATE_LIMITED = "rate_limited"
    LOCK_TIMEOUT = "lock_timeout"
    CONFLICT = "conflict"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    CUT = "cut"
    NOT_JSON = "not_json"
    HANG = "hang"


STATUSES = range(100, 600)
REFUSALS = frozenset(
    {
        FaultKind.RATE_LIMITED,
        FaultKind.LOCK_TIMEOUT,
        FaultKind.CONFLICT,
        FaultKind.UNAUTHORIZED,
        FaultKind.FORBIDDEN,
    }
)
"""Answers that Stripe gives before it processes a request: nothing happens, and nothing is saved under the key."""


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault. It affects requests whose method and path match: it skips the first `skip`, and hits at most `count`.

    `path` is a regular expression that is searched in the path (`^/v1/customers$`). If `count` is None, there is no
    limit. With `after_effect`, the fault occurs after Stripe has done the work. `seconds` is the latency, or how long a
    hang lasts. `status` is the status code of a `STATUS` fault (500, 502, 503 …), and `reason` the reason of a rate
    limit. `should_retry` sets the header `Stripe-Should-Retry`.
    """

    kind: FaultKind
    method: str | None = None
    path: str | None = None
    skip: int = 0
    count: int | None = 1
    probability: float = 1.0
    after_effect: bool = False
    status: int = 500
    reason: str = "global-rate"
    seconds: float = 0.0
    should_retry: bool | None = None

    @staticmethod
    def latency(seconds: float, **match: Any) -> Fault:
        """Answer late. Meanwhile the idempotency key counts as in use."""
        return Fault(kind=FaultKind.LATENCY, seconds=seconds, **match)

    @staticmethod
    def status_code(status: int = 500, *, after_effect: bool = False, **match: Any) -> Fault:
        """Answer with a 5xx."""
        return Fault(kind=FaultKind.STATUS, status=status, after_effect=after_effect, **match)

    @staticmethod
    def rate_limited(reason: str = "global-rate", **match: Any) -> Fault:
        """Answer 429 with `global-rate`, `global-concurrency`, `endpoint-rate`, `endpoint-concurrency` or another."""
        return Fault(kind=FaultKind.RATE_LIMITED, reason=reason, **match)

    @staticmethod
    def lock_timeout(**match: Any) -> Fault:
        """Answer 429 `lock_timeout`."""
        return Fault(kind=FaultKind.LOCK_TIMEOUT, **match)

    @staticmethod
    def conflict(**match: Any) -> Fault:
        """Answer 409, as if the idempotency key were in use."""
        return Fault(kind=FaultKind.CONFLICT, **match)

    @staticmethod
    def unauthorized(**match: Any) -> Fault:
        """Answer 401."""
        return Fault(kind=FaultKind.UNAUTHORIZED, **match)

    @staticmethod
    def forbidden(**match: Any) -> Fault:
        """Answer 403."""
        return Fault(kind=FaultKind.FORBIDDEN, **match)

    @staticmethod
    def cut(*, after_effect: bool = True, **match: Any) -> Fault:
        """Drop the connection instead of answering."""
        return Fault(kind=FaultKind.CUT, after_effect=after_effect, **match)

    @staticmethod
    def not_json(*, after_effect: bool = True, status: int = 200, **match: Any) -> Fault:
        """Answer with a page that isn't JSON, as a proxy might."""
        return Fault(kind=FaultKind.NOT_JSON, after_effect=after_effect, status=status, **match)

    @staticmethod
    def hang(seconds: float = 3600.0, *, after_effect: bool = True, **match: Any) -> Fault:
        """Keep the connection open without answering, then drop it."""
        return Fault(kind=FaultKind.HANG, seconds=seconds, after_effect=after_effect, **match)

    def as_json(self) -> dict[str, Any]:
        """Return the fault as plain values, for the control API."""
        return {**asdict(self), "kind": self.kind.value}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Fault:
        """The reverse of `as_json`. Raises `ValueError` if the values aren't a valid fault."""
        kinds = {kind.value: kind for kind in FaultKind}
        if values.get("kind") not in kinds:
            raise ValueError(f"`kind` must be one of {', '.join(kinds)}")
        try:
            # Strictly, since a value of another type would fail in the request that meets the fault.
            fault = convert(values, Fault)
            re.compile(fault.path or "")
        except (ValidationError, re.error) as error:
            raise ValueError(str(error)) from None
        if fault.status not in STATUSES or fault.seconds < 0:
            raise ValueError("`status` must be from 100 to 599, and `seconds` at least 0")
        return fault

    def refusal(self, method: str, path: str, idempotency_key: str) -> ApiError:
        """Return the error that a refusal or a status fault answers with."""
        if self.kind is FaultKind.RATE_LIMITED:
            error = rate_limited(self.reason)
        elif self.kind is FaultKind.LOCK_TIMEOUT:
            error = lock_timeout()
        elif self.kind is FaultKind.CONFLICT:
            error = key_in_use(idempotency_key)
        elif self.kind is FaultKind.UNAUTHORIZED:
            error = unauthorized("sk_test_revoked0000")
        elif self.kind is FaultKind.FORBIDDEN:
            error = forbidden(method, path, ACCOUNT)
        else:
            error = server_error(self.status)
        if self.should_retry is not None:
            error.headers["Stripe-Should-Retry"] = "true" if self.should_retry else "false"
        return error


def key_in_use(key: str) -> ApiError:
    """409: another request with this key is in progress (docs.stripe.com/error-codes, `idempotency_key_in_use`)."""
    return ApiError(
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted "
        f"twice, and the other request is still going through): {key}. Please try again later.",
        status=409,
        type="idempotency_error",
        code="idempotency_key_in_use",
    )


class FaultTable:
    """The pending faults."""

    def __init__(self, seed: int | None = None) -> None:
        self._waiting: list[_Waiting] = []
        self._random = random.Random(seed)  # noqa: S311 - chance in tests, not a secret

    def add(self, fault: Fault) -> None:
        """Inject `fault` into matching requests from now on."""
        self._waiting.append(_Waiting(fault))

    def clear(self) -> None:
        """Delete all faults."""
        self._waiting.clear()

    def pending(self) -> list[Fault]:
        """Return the faults that can still occur."""
        return [waiting.fault for waiting in self._waiting]

    def strike(self, method: str, path: str) -> list[Fault]:
        """Return the faults that affect this request, and count each of them."""
        if not self._waiting:
            return []
        struck = [w for w in self._waiting if w.strikes(method, path, self._random)]
        self._waiting = [w for w in self._waiting if not w.spent]
        return [w.fault for w in struck]


class _Waiting:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0
        self.hits = 0
        self._path = re.compile(fault.path) if fault.path else None

    @property
    def spent(self) -> bool:
        return self.fault.count is not None and self.hits >= self.fault.count

    def strikes(self, method: str, path: str, coin: random.Random) -> bool:
        fault = self.fault
        if fault.method is not None and fault.method.upper() != method:
            return False
        if self._path is not None and not self._path.search(path):
            return False
        self.seen += 1
        if self.seen <= fault.skip or (fault.probability < 1.0 and coin.random() >= fault.probability):
            return False
        self.hits += 1
        return True
