"""Form bodies and query strings (`a[b][0][c]=1`) as nested values."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from dbt_stripe_sync.sandbox.errors import bad_request

MAX_DEPTH = 12


def parse_form(raw: str) -> dict[str, Any]:
    """Decode a body into nested dicts of strings. Lists become dicts with keys from `"0"` up.

    Only the parameter's type says whether `{"0": …}` is a list or a hash with that key, so the checker decides. Raises
    `ApiError` if a name is used both as a value and as a hash.
    """
    tree: dict[str, Any] = {}
    if not raw:
        return tree
    for pair in raw.split("&"):
        if not pair:
            continue
        name, _, value = pair.partition("=")
        name = unquote_plus(name)
        text = unquote_plus(value) if "%" in value or "+" in value else value
        if "[" not in name:
            tree[name] = text
        else:
            _put(tree, name, text)
    return tree


def _put(tree: dict[str, Any], name: str, text: str) -> None:
    head, _, rest = name.partition("[")
    steps = [head, *rest.removesuffix("]").split("][")]
    if len(steps) > MAX_DEPTH:
        raise bad_request(f"Invalid request: {head} is nested too deeply", param=head)
    node = tree
    for step in steps[:-1]:
        key = step or str(len(node))
        child = node.get(key)
        if not isinstance(child, dict):
            if child is not None:
                raise bad_request(f"Invalid {head}: it is both a value and an object", param=head)
            child = node[key] = {}
        node = child
    node[steps[-1] or str(len(node))] = text


def as_lists(value: Any) -> Any:
    """Return the value with lists instead of hashes whose keys count from `"0"`, for people and tests to read."""
    if not isinstance(value, dict):
        return value
    if value and all(key == str(index) for index, key in enumerate(value)):
        return [as_lists(item) for item in value.values()]
    return {key: as_lists(item) for key, item in value.items()}
