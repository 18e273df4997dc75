"""Runs the sandbox as a process of its own: `python -m dbt_stripe_sync.sandbox`.

The first line on standard output is its URL.
"""

from __future__ import annotations

from pathlib import Path

import click

from dbt_stripe_sync.sandbox.rates import RateLimits
from dbt_stripe_sync.sandbox.running import SEARCH_DELAY, Sandbox, serve


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 picks a free one.")
@click.option("--data", type=click.Path(dir_okay=False, path_type=Path), help="Keep the objects in this file.")
@click.option("--rate-limits/--no-rate-limits", default=False, show_default=True, help="Answer 429 as Stripe does.")
@click.option(
    "--search-delay", type=float, default=SEARCH_DELAY, show_default=True, help="Seconds until search sees a change."
)
@click.option(
    "--require-payment-methods", is_flag=True, help="Refuse to charge customers without a card, as Stripe does."
)
def main(
    port: int,
    data: Path | None,
    rate_limits: bool,  # noqa: FBT001 - click's flag
    search_delay: float,
    require_payment_methods: bool,  # noqa: FBT001 - click's flag
) -> None:
    """Serve a local Stripe on the loopback interface until interrupted."""
    limits = RateLimits.stripe() if rate_limits else None
    try:
        sandbox = Sandbox(
            port=port,
            data_file=data,
            rate_limits=limits,
            search_delay=search_delay,
            require_payment_methods=require_payment_methods,
        )
        serve(sandbox, click.echo)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
