"""The commands that need no Stripe account: sandbox and demo."""

from __future__ import annotations

from pathlib import Path

import click

from dbt_stripe_sync.cli.options import FILE, FOLDER
from dbt_stripe_sync.model.errors import ConfigError, Problem


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=12111,
    show_default=True,
    help="Port on 127.0.0.1; 0 picks a free one.",
)
@click.option("--data", "data_file", type=FILE, help="File that keeps the objects between restarts.")
@click.option("--rate-limits", is_flag=True, help="Enforce the rate limits of a Stripe sandbox account.")
@click.option(
    "--require-payment-methods", is_flag=True, help="Refuse to charge customers without a card, as Stripe does."
)
def sandbox(*, port: int, data_file: Path | None, rate_limits: bool, require_payment_methods: bool) -> int:
    """Start a local Stripe for rehearsals, which stores its objects."""
    from dbt_stripe_sync.sandbox import RateLimits, Sandbox, serve

    limits = RateLimits.stripe() if rate_limits else None
    try:
        local = Sandbox(
            port=port, data_file=data_file, rate_limits=limits, require_payment_methods=require_payment_methods
        )
        serve(local, lambda url: click.echo(f"{url}  (STRIPE_API_KEY={local.api_key})"))
    except (OSError, ValueError) as error:
        raise ConfigError(_not_started(error)) from None
    return 0


def _not_started(error: Exception) -> Problem:
    return Problem(
        code="sandbox-not-started",
        summary=f"the local Stripe can't start: {error}",
        hint="choose another port with `--port` (0 picks a free one), or another file with `--data`",
    )


@click.command()
@click.option(
    "--warehouse",
    type=click.Choice(["duckdb", "postgres"]),
    default="duckdb",
    show_default=True,
    help="Where dbt builds.",
)
@click.option("--dir", "folder", type=FOLDER, help="Folder to keep the demo in [default: ./stripe-sync-demo]")
def demo(*, warehouse: str, folder: Path | None) -> int:
    """Run the sample project end to end with dbt and a local Stripe."""
    from dbt_stripe_sync.demo import run_demo

    return run_demo(warehouse=warehouse, folder=folder or Path("stripe-sync-demo"), say=click.echo)
