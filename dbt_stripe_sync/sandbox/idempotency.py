"""Answers saved under idempotency keys (docs.stripe.com/api/idempotent_requests)."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from dbt_stripe_sync.sandbox.errors import ApiError
from dbt_stripe_sync.sandbox.faults import key_in_use

# Stripe may prune a key once it is at least 24 hours old; afterwards the same key makes a new request.
KEY_RETENTION = timedelta(hours=24)
MAX_KEY_LENGTH = 255


class SavedAnswer(Struct, frozen=True):
    """The answer to the first request with a key. `saved_at` is in Unix seconds."""

    fingerprint: str
    status: int
    body: bytes
    request_id: str
    saved_at: float


class SavedAnswers:
    """The idempotency keys of one account and mode."""

    def __init__(self) -> None:
        self._answers: dict[str, SavedAnswer] = {}
        self._in_flight: dict[str, str] = {}

    def begin(self, key: str, fingerprint: str, now: float) -> SavedAnswer | None:
        """Return the saved answer, or mark the key as in use and return None.

        Raises `ApiError` if Stripe would reject the key.
        """
        if len(key) > MAX_KEY_LENGTH:
            raise ApiError(
                f"Idempotency keys can be at most {MAX_KEY_LENGTH} characters long.", type="idempotency_error"
            )
        saved = self._answers.get(key)
        if saved is not None and saved.saved_at + KEY_RETENTION.total_seconds() <= now:
            saved = None
        used_for = saved.fingerprint if saved else self._in_flight.get(key)
        if used_for is not None and used_for != fingerprint:
            raise ApiError(
                "Keys for idempotent requests can only be used with the same parameters they were first used with. "
                f"Try using a key other than '{key}' if you meant to execute a different request.",
                type="idempotency_error",
            )
        if key in self._in_flight:
            raise key_in_use(key)
        if saved is None:
            self._in_flight[key] = fingerprint
        return saved

    def end(self, key: str, answer: SavedAnswer | None) -> None:
        """End the request. If `answer` is None, nothing is saved, so that the key can be used again."""
        self._in_flight.pop(key, None)
        if answer is not None:
            self._answers[key] = answer

    def load(self, key: str, answer: SavedAnswer) -> None:
        """Restore an answer from a data file."""
        self._answers[key] = answer
