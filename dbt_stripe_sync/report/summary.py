"""Adds up a run's outcomes in one pass: what each sync did, and its failures by cause."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct, field

from dbt_stripe_sync.model.change import is_row
from dbt_stripe_sync.model.run import Status
from dbt_stripe_sync.report.explain import explain_outcome, fill_in, param_path
from dbt_stripe_sync.report.json_values import message_of
from dbt_stripe_sync.report.redact import without_ids

if TYPE_CHECKING:
    from dbt_stripe_sync.model.calls import StripeFailure
    from dbt_stripe_sync.model.change import Action
    from dbt_stripe_sync.model.run import Outcome, RunReport

SHOWN_KEYS = 5
SHOWN_REQUESTS = 3
# If all messages differ, they must not fill the memory: past this many causes, those of one code are merged.
MOST_CAUSES = 200


class Cause(Struct, kw_only=True):
    """Why changes of one sync did not succeed.

    `message` is Stripe's, of the first one; `requests` are request ids. `noun` is what `rows` counts: rows, or further
    steps.
    """

    number: int
    status: Status
    sync: str
    failure: StripeFailure | None
    path: str | None
    message: str | None
    meaning: str
    hint: str | None
    noun: str = "row"
    rows: int = 0
    keys: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


class Summary(Struct):
    """The result of a run.

    `actions` counts the rows' changes that succeeded and `statuses` everything, by sync. `earlier` counts the results
    of changes that an earlier run had left open.
    """

    actions: dict[str, Counter[Action]] = field(default_factory=dict)
    statuses: dict[str, Counter[Status]] = field(default_factory=dict)
    earlier: dict[str, Counter[Status]] = field(default_factory=dict)
    causes: dict[object, Cause] = field(default_factory=dict)

    def add(self, outcome: Outcome, *, with_values: bool = False) -> Cause | None:
        """Count one outcome, and return the cause if it did not succeed."""
        change = outcome.change
        self.statuses.setdefault(change.sync, Counter())[outcome.status] += 1
        if outcome.is_earlier:
            self.earlier.setdefault(change.sync, Counter())[outcome.status] += 1
        if outcome.status is Status.SUCCEEDED:
            if is_row(change) and not outcome.is_earlier:
                self.actions.setdefault(change.sync, Counter())[change.action] += 1
            return None
        cause = self._cause(outcome, with_values=with_values)
        cause.rows += 1
        if len(cause.keys) < SHOWN_KEYS:
            cause.keys.append(change.key)
        # Changes may share a request.
        if outcome.request_id and outcome.request_id not in cause.requests and len(cause.requests) < SHOWN_REQUESTS:
            cause.requests.append(outcome.request_id)
        return cause

    def in_order(self) -> list[Cause]:
        """The causes, most frequent first; unresolved changes after rejected ones."""
        order = list(Status)
        return sorted(self.causes.values(), key=lambda cause: (order.index(cause.status), -cause.rows, cause.number))

    def total(self, status: Status) -> int:
        """How many changes of all syncs have this status."""
        return sum(counts[status] for counts in self.statuses.values())

    def _cause(self, outcome: Outcome, *, with_values: bool) -> Cause:
        change, failure = outcome.change, outcome.failure
        # Grouped by the message without values, so that showing values doesn't split a cause.
        alike = message_of(failure, change, with_values=False) if failure else None
        noun = "row" if is_row(change) else "further step"
        name: tuple[object, ...] = (change.sync, outcome.status, noun)
        if failure is not None:
            name += (failure.type, failure.code, failure.param, failure.status)
        elif outcome.status is not Status.SKIPPED:
            name += (outcome.reason,)
        if alike:
            exact = (*name, without_ids(alike))
            name = exact if exact in self.causes or len(self.causes) < MOST_CAUSES else name
        if name not in self.causes:
            meaning, hint = _explained(outcome)
            message = message_of(failure, change, with_values=True) if failure and with_values else alike
            self.causes[name] = Cause(
                number=len(self.causes),
                status=outcome.status,
                sync=change.sync,
                failure=failure,
                path=param_path(failure.param) if failure else None,
                message=message,
                meaning=meaning,
                hint=hint,
                noun=noun,
            )
        return self.causes[name]


def summarize(report: RunReport, *, with_values: bool = False) -> Summary:
    """Add up a run's outcomes in one pass. Memory grows with the number of causes, not with the number of rows."""
    summary = Summary()
    for outcome in report.outcomes:
        summary.add(outcome, with_values=with_values)
    return summary


def _explained(outcome: Outcome) -> tuple[str, str | None]:
    explanation = explain_outcome(outcome)
    if outcome.failure is not None and explanation is not None:
        return (
            fill_in(explanation.meaning, outcome.failure, outcome.change),
            fill_in(explanation.hint, outcome.failure, outcome.change),
        )
    if outcome.status is Status.SKIPPED:
        meaning = "another row has to be written first"
        hint = "fix that row: the next run writes this one, too"
        return f"{meaning}: {outcome.reason}" if outcome.reason else meaning, hint
    if outcome.status is Status.UNKNOWN:
        if outcome.reason:
            return outcome.reason, None  # its own message says what to do
        return "Stripe didn't answer, so the change may have been made", "run it again: the next run finds out first"
    return outcome.reason or "it was not sent", None
