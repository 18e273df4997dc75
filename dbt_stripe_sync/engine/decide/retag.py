"""Updates the tags of objects whose sync was renamed, or that ended for a replacement that was not created yet.

The next change of a row writes its tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.engine.decide.calls import build_change, is_tagged, row_tag, step_params
from dbt_stripe_sync.engine.decide.rules import Ask, Decision, Keep, Refresh, Reject, Rules
from dbt_stripe_sync.model.change import Action, FieldChange, PlannedCall
from dbt_stripe_sync.model.difference import Kind
from dbt_stripe_sync.model.lifecycle import Step
from dbt_stripe_sync.model.objects import TAG_FIELD
from dbt_stripe_sync.model.record import NO_TAG, REBUILT, TAGGED_AS
from dbt_stripe_sync.model.tag import FORMER_TAG, TAG, build_tag

if TYPE_CHECKING:
    from dbt_stripe_sync.model.change import Change
    from dbt_stripe_sync.model.difference import RowDiff

# Actions on the object that the row has, which leave it in place.
_KEEPS_ITS_OBJECT = frozenset({Action.UPDATE, Action.ARCHIVE, Action.CANCEL})


def without_old_tag(diff: RowDiff) -> RowDiff:
    """The same parameters without the old name of the sync; the identical object if it has none."""
    if TAGGED_AS not in diff.params:
        return diff
    return replace(diff, params={name: value for name, value in diff.params.items() if name != TAGGED_AS})


def old_tag(rules: Rules, diff: RowDiff) -> str | None:
    """The tag that the row's object has instead of its own, `NO_TAG` if it lost it. None if it can or must stay."""
    name = diff.params.get(TAGGED_AS)
    if name == NO_TAG:
        return NO_TAG
    metadata = rules.resource.params.get("metadata")
    can_lose = is_tagged(rules) and "update" in rules.resource.operations and metadata and not metadata.immutable
    # A record that was read back contains the object, whose own tag is compared.
    if not name or name == rules.sync.name or not can_lose or diff.payload_hash == REBUILT:
        return None
    return build_tag(rules.sync.project, name, diff.key)


def retag(rules: Rules, diff: RowDiff, old: str | None, decision: Decision) -> Decision:
    """Make the row's change also write its new tag, or create a change that only does that."""
    is_ended = old == NO_TAG or diff.kind is Kind.RETURNED
    if old is None or isinstance(decision, Ask | Reject) or (is_ended and isinstance(decision, Keep)):
        return decision
    if isinstance(decision, Refresh | Keep):
        desired = decision.record.params if isinstance(decision, Refresh) else diff.params
        change = replace(build_change(rules, diff, Action.UPDATE, desired), stripe_id=diff.stripe_id)
    elif decision.action in _KEEPS_ITS_OBJECT:
        change = decision
    else:
        return _without_end(decision) if old == NO_TAG else decision
    new = {TAG: row_tag(rules, diff.key)} | ({FORMER_TAG: ""} if old == NO_TAG else {})
    index = next((i for i, call in enumerate(change.calls) if call.operation == "update"), None)
    if index is None:
        # Nothing else: parameters for a single request don't belong to a tag update, and the state may have only their
        # hash.
        step = Step(operation="update", params={"metadata": new})
        call = PlannedCall(operation=step.operation, target=diff.stripe_id, params=step_params(rules, diff, step))
        calls = (*change.calls, call)
    else:
        call = change.calls[index]
        written = replace(call, params={**call.params, "metadata": {**call.params.get("metadata", {}), **new}})
        calls = (*change.calls[:index], written, *change.calls[index + 1 :])
    shown = FieldChange(path=TAG_FIELD, before=old or None, after=new[TAG])
    reason = change.reason or "its sync was renamed"
    return replace(change, calls=calls, changed=(*change.changed, shown), reason=reason)


def _without_end(change: Change) -> Change:
    """A replacement whose old object has already ended."""
    owes = tuple(step for step in change.owes if step.target != change.stripe_id)
    return replace(change, owes=owes, ends_first=False, before={})
