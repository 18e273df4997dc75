"""How parameters change an object: values replace, `''` empties, metadata merges key by key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox.errors import bad_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dbt_stripe_sync.sandbox.store import Body

# docs.stripe.com/metadata
MAX_METADATA_KEYS = 50
MAX_METADATA_NAME = 40
MAX_METADATA_VALUE = 500


def apply_params(body: Body, params: Mapping[str, Any], *, leave: Iterable[str] = ()) -> None:
    """Put each parameter but those of `leave` under its own name. A hash is replaced as a whole, metadata is merged."""
    skipped = frozenset(leave)
    for name, value in params.items():
        if name == "expand" or name in skipped:
            continue
        if name == "metadata":
            body["metadata"] = merge_metadata(body.get("metadata") or {}, value)
        else:
            body[name] = plain(value)


def plain(value: Any) -> Any:
    """A parameter as an object shows it: `''` is null, at any depth."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if value == "" else value


def merge_metadata(before: Mapping[str, str], given: Any, *, param: str = "metadata") -> dict[str, str]:
    """The metadata after a request: `''` alone clears it, an empty value removes its key. Raises `ApiError`."""
    if given == "" or given is None:
        return {}
    after = dict(before)
    for name, value in given.items():
        if len(name) > MAX_METADATA_NAME:
            raise bad_request(
                f"Metadata keys must be under {MAX_METADATA_NAME} characters in length. Try making the key shorter.",
                param=param,
            )
        if value == "":
            after.pop(name, None)
            continue
        if len(value) > MAX_METADATA_VALUE:
            raise bad_request(
                f"Metadata values can have up to {MAX_METADATA_VALUE} characters, but you passed in a value that is "
                f"{len(value)} characters. Invalid value: {value[:20]}...",
                param=f"{param}[{name}]",
            )
        after[name] = value
    if len(after) > MAX_METADATA_KEYS:
        raise bad_request(
            f"You can only specify up to {MAX_METADATA_KEYS} metadata keys, but you specified {len(after)}.",
            param=param,
        )
    return after
