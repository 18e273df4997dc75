"""Reads values that the state stores only as hashes, if they have to be sent together with a value that changes.

Stripe hashes are sent completely, including the parts that a null leaves unchanged (`nulls: ignore`). With
`store_values: false`, the record lacks the values of those parts, so they come from the object in Stripe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.model.change import Fingerprint
from dbt_stripe_sync.model.nested import has_leaf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.params import Param

_UNKNOWN: Any = object()


def is_hidden(value: Any) -> bool:
    """Whether some parameters have a part that is known only as a hash."""
    return has_leaf(value, Fingerprint)


def reveal(params: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The same parameters with the object's values in place of hashes; parts that the object lacks are left out."""
    return _reveal(dict(params), body) if is_hidden(params) else dict(params)


def choice_of(value: Any, param: Param) -> Any:
    """The value behind a hash, for a parameter with few possible values. None if it is none of them."""
    if not isinstance(value, Fingerprint):
        return value
    matches = value.matches or (lambda _: False)
    return next((choice for choice in (*param.enum, True, False) if matches(choice)), None)


def _reveal(value: Any, shown: Any) -> Any:
    if isinstance(value, Fingerprint):
        return _UNKNOWN if shown is None or isinstance(shown, dict | list) else shown
    if isinstance(value, dict):
        shown = shown if isinstance(shown, dict) else {}
        parts = {name: _reveal(part, shown.get(name)) for name, part in value.items()}
        return {name: part for name, part in parts.items() if part is not _UNKNOWN}
    return value
