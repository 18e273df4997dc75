"""Leaves out a matching object that is another row's own, if that row gives up the matching value in the same plan.

A search finds objects as they are before the plan. If a row changes its address and a new row has the old one, both are
right: the new row gets an object of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.rules import FindObjects
from dbt_stripe_sync.engine.payload.layout import KEY
from dbt_stripe_sync.model.objects import EMAIL, NEAR_EMAIL, TAG_FIELD, near_text
from dbt_stripe_sync.model.sql import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.engine.decide.rules import Found, Need, Observed, Rules
    from dbt_stripe_sync.engine.stage.staged import Staged
    from dbt_stripe_sync.engine.stage.workspace import Workspace

# An object keeps its id, whatever its row says.
_KEPT = frozenset({"id", TAG_FIELD})


def without_given_up(
    workspace: Workspace,
    rules: Rules,
    staged: Staged,
    asked: Mapping[str, Need],
    answers: Mapping[str, Observed],
) -> Mapping[str, Observed]:
    """The answers without objects of other rows of this sync that ask for another value in this plan.

    If none is left, the row is matched by nothing, so this applies only to the last field that it is matched by.
    """
    asking = {key: need for key, need in asked.items() if isinstance(need, FindObjects)}
    found_by_key = {key: found for key in asking if (found := answers[key].found) is not None and found.objects}
    owners = {key: others for key, found in found_by_key.items() if (others := dict(_others(rules, key, found)))}
    if not owners:
        return answers
    texts = _Texts(workspace, rules, staged, {owner for of_row in owners.values() for owner in of_row.values()})
    kept = dict(answers)
    for key, of_row in owners.items():
        need, found = asking[key], found_by_key[key]
        by, value = next(pair for pair in need.pairs if pair[0] == found.by)
        given_up = {id_ for id_, owner in of_row.items() if texts.differ(owner, by, value)}
        left = tuple(body for body in found.objects if body["id"] not in given_up)
        if left or by == need.pairs[-1][0]:
            kept[key] = replace(answers[key], found=replace(found, objects=left))
    return kept


def _others(rules: Rules, key: str, found: Found) -> Iterator[tuple[str, str]]:
    """The objects that other rows of the sync own, each with the row's key."""
    for body in found.objects if found.by not in _KEPT else ():
        name, owner = found.owners.get(str(body["id"]), (None, ""))
        if name == rules.sync.name and owner != key:
            yield str(body["id"]), owner


class _Texts:
    """What some rows of a sync are matched by now."""

    def __init__(self, workspace: Workspace, rules: Rules, staged: Staged, keys: set[str]) -> None:
        self._found: dict[tuple[str, str], set[str | None]] = {}
        query = f"SELECT * FROM {staged.table} WHERE {quoted(KEY)} IN (SELECT unnest($keys))"
        for batch in workspace.batches(query, {"keys": sorted(keys)}):
            for row in batch:
                for match in rules.sync.match:
                    text = rules.builder.text(match.value, row)
                    self._add(row[KEY], match.by, text)
                    if match.by == EMAIL:
                        self._add(row[KEY], NEAR_EMAIL, near_text(text) if text else None)

    def _add(self, key: str, by: str, text: str | None) -> None:
        self._found.setdefault((key, by), set()).add(text)

    def differ(self, key: str, by: str, value: str) -> bool:
        """Whether a row that is still in the model asks for another value. A null doesn't have to clear the old one."""
        texts = self._found.get((key, by), set())
        return bool(texts) and not texts & {value, None}
