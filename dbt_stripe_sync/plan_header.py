"""Records what a plan was made for, and checks that this still holds when it is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import dbt_stripe_sync
from dbt_stripe_sync.model.errors import PlanError, Problem
from dbt_stripe_sync.model.plan import PlanHeader

if TYPE_CHECKING:
    from dbt_stripe_sync.model.plan import Plan
    from dbt_stripe_sync.wiring import Parts
    from dbt_stripe_sync.workload import Workload


def build_header(workload: Workload, parts: Parts) -> PlanHeader:
    """The header of a plan that is made now."""
    return PlanHeader(
        plan_id=uuid4().hex,
        created_at=parts.clock.now(),
        project=workload.project,
        target=workload.target,
        account=parts.account.id,
        livemode=parts.account.livemode,
        api_version=parts.account.api_version or "",
        state_id=parts.state.state_id,
        state_serial=parts.state.serial,
        manifest_digest=workload.manifest_digest,
        version=dbt_stripe_sync.__version__,
    )


def check_plan(plan: Plan, workload: Workload, parts: Parts) -> None:
    """Reject a plan that was altered or made for something else, or whose state something else has written since.

    Raises `PlanError` with everything that differs.
    """
    header, state = plan.header, parts.state
    facts = (
        ("project", header.project, workload.project),
        ("target", header.target, workload.target),
        ("account", header.account, parts.account.id),
        ("mode", _mode(livemode=header.livemode), _mode(livemode=parts.account.livemode)),
        ("state", header.state_id, state.state_id),
        ("version", header.version, dbt_stripe_sync.__version__),
        ("api-version", header.api_version, parts.account.api_version or ""),
    )
    problems = [
        Problem(
            code=f"plan-other-{name}",
            summary=f"the plan was made for {name.replace('-', ' ')} `{then}`, and this is `{now}`",
            hint="make a new plan with `dbt-stripe-sync plan --out FILE`",
        )
        for name, then, now in facts
        if then != now
    ]
    stale = [
        Problem(
            code="plan-stale",
            summary=f"the {what} has changed since the plan was made",
            hint="make a new plan with `dbt-stripe-sync plan --out FILE`",
        )
        for what, has_moved in (
            ("state", state.serial not in {header.state_serial, state.serial_after(header.plan_id)}),
            ("manifest", header.manifest_digest != workload.manifest_digest),
        )
        if has_moved
    ]
    if not problems and not state.has_signed(plan.digest, plan.signature):
        problems.append(
            Problem(
                code="plan-altered",
                summary="the plan was altered after it was made: its signature is not the state's",
                hint="make a new plan with `dbt-stripe-sync plan --out FILE`",
            )
        )
    if problems or stale:
        raise PlanError(problems or stale)


def _mode(*, livemode: bool) -> str:
    return "live" if livemode else "test"
