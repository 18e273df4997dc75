"""dbt Cloud: start a job, wait for its run, and fetch the artifacts that a sync needs, through its Admin API v2."""

from dbt_stripe_sync.cloud.access import CloudAccess, read_access
from dbt_stripe_sync.cloud.fetching import CloudChoice, Fetched, fetch_artifacts, trigger_job
from dbt_stripe_sync.cloud.runs import CloudRun, CloudStep, RunState

__all__ = [
    "CloudAccess",
    "CloudChoice",
    "CloudRun",
    "CloudStep",
    "Fetched",
    "RunState",
    "fetch_artifacts",
    "read_access",
    "trigger_job",
]
