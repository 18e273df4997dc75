"""A local, stateful Stripe over HTTP for rehearsals, demos and tests. docs/sandbox.md says what it does and guesses."""

from dbt_stripe_sync.sandbox.faults import Fault, FaultKind
from dbt_stripe_sync.sandbox.rates import RateLimits
from dbt_stripe_sync.sandbox.running import Sandbox, serve
from dbt_stripe_sync.sandbox.server import RequestLine

__all__ = ["Fault", "FaultKind", "RateLimits", "RequestLine", "Sandbox", "serve"]
