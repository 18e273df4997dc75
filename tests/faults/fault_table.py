"""Every fault that the tests bring about, as data: they assert it, and docs/faults.md is written from it.

`python tests/faults/fault_table.py` writes the page anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt_stripe_sync.sandbox import Fault
from dbt_stripe_sync.stripe_api.retry import MOST_ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
CREATION: dict[str, Any] = {"method": "POST", "path": "^/v1/customers$"}

SENT_AGAIN = (
    "The same call is sent again under the same key, up to {attempts} times in 5 minutes; then the row is `unknown` "
    "and its intent stays."
)
NOT_SENT_AGAIN = (
    "The call is not sent again under its key, under which Stripe has saved the failure: the row is `unknown`."
)
REFUSED = "Nothing has been done. The call is not sent again: the row is `rejected`."
TURNED_AWAY = (
    "Nothing has been done. The same call is sent again for as long as others get through, at least {attempts} times; "
    "then the row is `rejected`."
)
REPLAYED = "Sends the open calls again under their old keys, which Stripe answers as it did, or carries out now."
LOOKED_FOR = "Looks for our tag in Stripe's lists: what is there is recorded, what is not is made under a new key."
PLANNED = "Plans the rows that are not done and sends them."
NOTHING = "Goes on as if nothing had been: what was sent is known."


@dataclass(frozen=True, kw_only=True)
class StripeFault:
    """A fault of Stripe, or of the way there.

    `once` says that a run overcomes it where it happens once, `lasting` how the rows end where it goes on, `attempts`
    how often each row's call was sent then. `acts` says that Stripe has done the work all the same.
    """

    name: str
    fault: Callable[..., Fault]
    happens: str
    seen: tuple[str, ...]
    next_run: str
    once: bool = True
    lasting: str = "unknown"
    attempts: int | None = MOST_ATTEMPTS
    acts: bool = False


@dataclass(frozen=True, kw_only=True)
class OtherFault:
    """A fault of the machine, the state or the warehouse. `exit_code` is that of the run that meets it."""

    name: str
    happens: str
    seen: tuple[str, ...]
    next_run: str
    exit_code: int


def _of(make: Callable[..., Fault], *args: Any, **given: Any) -> Callable[..., Fault]:
    return lambda **more: make(*args, **given, **more)


_CONNECTION = ("unresolved[connection]", "the connection was cut", "the next run finds out first")
_OWN_ERROR = ("unresolved[api_error]", "Stripe had an error of its own, so it may have happened")
_TOO_MANY = ("rejected[rate_limit]", "Stripe had too many requests, even after waiting and slowing down")

STRIPE_FAULTS = (
    StripeFault(
        name="the connection is cut before Stripe acts",
        fault=_of(Fault.cut, after_effect=False),
        happens=SENT_AGAIN,
        seen=_CONNECTION,
        next_run=REPLAYED,
    ),
    StripeFault(
        name="the connection is cut after Stripe has acted",
        fault=_of(Fault.cut, after_effect=True),
        happens=SENT_AGAIN,
        seen=_CONNECTION,
        next_run=REPLAYED,
        acts=True,
    ),
    StripeFault(
        name="no answer within 80 seconds",
        fault=_of(Fault.hang, 2.5, after_effect=True),
        happens=SENT_AGAIN,
        seen=("unresolved[connection]", "no answer in time", "the next run finds out first"),
        next_run=REPLAYED,
        acts=True,
    ),
    StripeFault(
        name="500, and nothing was done",
        fault=_of(Fault.status_code, 500),
        happens=NOT_SENT_AGAIN,
        seen=_OWN_ERROR,
        next_run=LOOKED_FOR,
        once=False,
        attempts=1,
    ),
    StripeFault(
        name="500, and it was done",
        fault=_of(Fault.status_code, 500, after_effect=True),
        happens=NOT_SENT_AGAIN,
        seen=_OWN_ERROR,
        next_run=LOOKED_FOR,
        once=False,
        attempts=1,
        acts=True,
    ),
    StripeFault(
        name="502",
        fault=_of(Fault.status_code, 502),
        happens=SENT_AGAIN,
        seen=_OWN_ERROR,
        next_run=REPLAYED,
    ),
    StripeFault(
        name="503",
        fault=_of(Fault.status_code, 503),
        happens=SENT_AGAIN,
        seen=_OWN_ERROR,
        next_run=REPLAYED,
    ),
    StripeFault(
        name="409: the key is in use",
        fault=Fault.conflict,
        happens=SENT_AGAIN,
        seen=("unresolved[idempotency_key_in_use]", "the same request was still being worked on by Stripe"),
        next_run=REPLAYED,
    ),
    *(
        StripeFault(
            name=f"429 with reason `{reason}`",
            fault=_of(Fault.rate_limited, reason),
            happens=f"{TURNED_AWAY} {slows}",
            seen=_TOO_MANY,
            next_run=PLANNED,
            lasting="rejected",
        )
        for reason, slows in (
            ("global-rate", "All calls slow down to half their pace and find it again."),
            ("endpoint-rate", "Calls of this kind slow down to half their pace and find it again."),
            ("global-concurrency", "Half as many calls are under way at once, until it goes well again."),
            (
                "endpoint-concurrency",
                "Half as many calls of this kind are under way at once, until it goes well again.",
            ),
            ("resource-specific", "No pace changes: the limit is the object's own."),
        )
    ),
    StripeFault(
        name="429 `lock_timeout`: another call has the object",
        fault=Fault.lock_timeout,
        happens=TURNED_AWAY,
        seen=("rejected[lock_timeout]",),
        next_run=PLANNED,
        lasting="rejected",
    ),
    StripeFault(
        name="401 in mid-run: the key was revoked",
        fault=_of(Fault.unauthorized),
        happens=f"{REFUSED} The run sends nothing more and ends.",
        seen=("Stripe does not accept the key", "take a current key"),
        next_run=f"With a key that is accepted: {PLANNED[0].lower()}{PLANNED[1:]}",
        once=False,
        lasting="rejected",
        attempts=None,
    ),
    StripeFault(
        name="403 in mid-run: the key lost a permission",
        fault=_of(Fault.forbidden),
        happens=f"{REFUSED} The sync sends nothing more, other syncs go on.",
        seen=("rejected[more_permissions_required]", "the key may not do this", "give the restricted key"),
        next_run=f"With the permission: {PLANNED[0].lower()}{PLANNED[1:]}",
        once=False,
        lasting="rejected",
        attempts=None,
    ),
    StripeFault(
        name="200 with a page that is not JSON",
        fault=_of(Fault.not_json, after_effect=True),
        happens=SENT_AGAIN,
        seen=("unresolved[not_stripe]", "something between here and Stripe answered in its place"),
        next_run=REPLAYED,
        acts=True,
    ),
    StripeFault(
        name="502 with a page that is not JSON",
        fault=_of(Fault.not_json, after_effect=False, status=502),
        happens=SENT_AGAIN,
        seen=("unresolved[not_stripe]", "something between here and Stripe answered in its place"),
        next_run=REPLAYED,
    ),
)

GONE = OtherFault(
    name="connection refused in mid-run",
    happens=f"{SENT_AGAIN} Where no call at all gets an answer, the run ends.",
    seen=("unresolved[connection]", "the next run finds out first"),
    next_run=REPLAYED,
    exit_code=1,
)
NEVER_THERE = OtherFault(
    name="connection refused from the start",
    happens="Nothing is read and nothing is sent.",
    seen=("error[stripe-unreachable]", "can't be reached", "check the network"),
    next_run=PLANNED,
    exit_code=2,
)
MISMATCH = OtherFault(
    name="400: the key was used with other parameters",
    happens="The key is given up and never sent again: the row is `unknown`.",
    seen=("unresolved[idempotency_error]",),
    next_run=LOOKED_FOR,
    exit_code=1,
)
SLOW = OtherFault(
    name="a very slow answer",
    happens="It is waited for, up to 80 seconds; calls of other kinds go on meanwhile.",
    seen=("Run succeeded (exit 0)",),
    next_run=NOTHING,
    exit_code=0,
)
FULL_EARLY = OtherFault(
    name="the disk is full while the plan is made",
    happens="Nothing of the plan is sent, and what was written of it is removed.",
    seen=("error[plan-unwritable]", "the plan can't be written", "free some space"),
    next_run=PLANNED,
    exit_code=2,
)
FULL = OtherFault(
    name="the disk is full while changes are sent",
    happens="No call leaves whose intent could not be written; those under way keep theirs, written before.",
    seen=("error[state-disk-full]", "the disk is full", "free some space and run again"),
    next_run=REPLAYED,
    exit_code=2,
)
READ_ONLY = OtherFault(
    name="the state's folder is read-only",
    happens="Nothing is sent.",
    seen=("error[state-readonly]", "the state can't be written", "make its folder writable"),
    next_run=PLANNED,
    exit_code=2,
)
DAMAGED = OtherFault(
    name="the state file is damaged",
    happens="Nothing is sent and the file is left as it is: never is a state made anew in its place.",
    seen=("error[state-damaged]", "the state can't be read", "state rebuild"),
    next_run="After the file was moved away, with a backup in its place or without, and `state rebuild`: finds every "
    "object by its tag, makes none.",
    exit_code=2,
)
BEHIND = OtherFault(
    name="the state file is an older copy",
    happens="An object that has the tag of a row, and that the state knows nothing of, stops the run: nothing is sent.",
    seen=("error[state-behind]", "the state is older than what was sent", "state rebuild"),
    next_run="With the newest copy, or after `state rebuild`: knows every object, makes none twice.",
    exit_code=2,
)
NEWER = OtherFault(
    name="the state file is of a newer version",
    happens="Nothing is sent and the file is left as it is.",
    seen=("error[state-newer]", "upgrade dbt-stripe-sync"),
    next_run="With that version: goes on as if nothing had been.",
    exit_code=2,
)
WAREHOUSE = OtherFault(
    name="the warehouse dies in mid-read",
    happens="Nothing is sent: rows that were not read must not look as if they had left the model.",
    seen=("error[read-failed]", "reading model `customers` failed"),
    next_run=PLANNED,
    exit_code=2,
)
CLOCK_BACK = OtherFault(
    name="the clock steps back between two runs",
    happens="An intent from the future says nothing of its key's age, so its key is not used again.",
    seen=("Run succeeded (exit 0)",),
    next_run=LOOKED_FOR,
    exit_code=0,
)
KILLED = OtherFault(
    name="SIGKILL, at any instant",
    happens="What is in flight may act or not; its intent is on disk. Nothing else is left behind.",
    seen=(),
    next_run=f"{REPLAYED} Then plans and sends the rest.",
    exit_code=-9,
)
OWED_AGAIN = (
    "Shows what is owed first and sends it again. It exits 1 until that is done, or until `state settle SYNC KEY` "
    "drops it."
)
END_REFUSED = OtherFault(
    name="the end of a replaced object is refused",
    happens="The new object is there and recorded. The end of the old one is owed, in the state.",
    seen=("owed: archive", "a new object has taken its place", "state settle"),
    next_run=OWED_AGAIN,
    exit_code=1,
)
END_LOST = OtherFault(
    name="the end of a replaced object gets no answer",
    happens="The new object is there and recorded. The end of the old one is `unknown` and owed.",
    seen=("owed: archive", "unresolved[connection]", "state settle"),
    next_run=f"{REPLAYED} What was done is no longer owed.",
    exit_code=1,
)
END_KILLED = OtherFault(
    name="SIGKILL between a new object and the end of the old one",
    happens="The end is owed from the commit on that records the new object.",
    seen=(),
    next_run="Sends the end, once.",
    exit_code=-9,
)
HOLDER_REFUSED = OtherFault(
    name="a product can't be moved to its new default price",
    happens="The old price stays active for as long as the product names it: both steps are owed.",
    seen=("owed: archive", "default_price", "state settle"),
    next_run=OWED_AGAIN,
    exit_code=1,
)
DEPENDENT_STAYS = OtherFault(
    name="a promotion code can't follow its replaced coupon",
    happens="Neither is touched: the code stays alive with the coupon that it has.",
    seen=("dependent-stays", "still refers to this coupon"),
    next_run=PLANNED,
    exit_code=1,
)
VALUE_TAKEN = OtherFault(
    name="two rows ask for a value that only one object can have",
    happens="One row has it. The other one is rejected before any call.",
    seen=("value-taken", "only one object can have this `lookup_key`"),
    next_run=PLANNED,
    exit_code=1,
)
OWED_FAULTS = (END_REFUSED, END_LOST, END_KILLED, HOLDER_REFUSED, DEPENDENT_STAYS, VALUE_TAKEN)
OTHER_FAULTS = (
    NEVER_THERE,
    GONE,
    MISMATCH,
    SLOW,
    KILLED,
    FULL_EARLY,
    FULL,
    READ_ONLY,
    DAMAGED,
    BEHIND,
    NEWER,
    WAREHOUSE,
    CLOCK_BACK,
)

HEAD = """\
# What can go wrong, and what then happens

<!-- `python tests/faults/fault_table.py` writes this page from what the tests assert. -->

Each of these is brought about by a test, with the real command line, the official SDK and a real warehouse. After each
of them, and the next run, every row has exactly one object and the state knows it; a run after that sends nothing.

A row that is `unknown` may have happened or not: it is never taken for one that failed. Nothing else is done with it
until a later run has found out. A `rejected` one has certainly not happened.
"""
NAMES = ("fault", "what happens", "what the user sees", "what the next run does")


def render_page() -> str:
    """The whole page."""
    lines = [HEAD, "## Stripe, and the way there\n", *_table(STRIPE_FAULTS), ""]
    lines += ["## Changes of several steps\n", *_table(OWED_FAULTS), "", "## Everything else\n"]
    return "\n".join([*lines, *_table(OTHER_FAULTS), ""])


def _table(faults: tuple[StripeFault | OtherFault, ...]) -> list[str]:
    rows = [f"| {' | '.join(NAMES)} |", "|---" * len(NAMES) + "|"]
    for fault in faults:
        cells = (fault.name, fault.happens.format(attempts=MOST_ATTEMPTS), _seen(fault), fault.next_run)
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _seen(fault: StripeFault | OtherFault) -> str:
    texts = ", ".join(f"`{text}`" if "`" not in text else text for text in fault.seen)
    if isinstance(fault, OtherFault):
        code = "none: the process is gone" if fault.exit_code < 0 else f"exit {fault.exit_code}"
        return f"{texts}; {code}" if texts else code
    return f"{'once: nothing, exit 0; for good: ' if fault.once else ''}{texts}; exit 1"


if __name__ == "__main__":
    PAGE.write_text(render_page())
