"""A shop whose objects depend on each other, a person who also works in its Stripe account, and what is still owed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from collections.abc import Callable

    import stripe as sdk
    from business import Business, Ran

    from dbt_stripe_sync.sandbox import Sandbox


@dataclass
class Shop:
    """A business and a person with a Dashboard: `hand` is the SDK's client, used the way that person would."""

    business: Business
    hand: sdk.StripeClient

    @property
    def stripe(self) -> Sandbox:
        return self.business.stripe

    def rows(self, model: str, *rows: tuple[Any, ...], columns: str) -> None:
        self.business.rows(model, *rows, columns=columns)

    def sync(self, model: str, **meta: Any) -> None:
        self.business.sync(model, key=meta.pop("key", "id"), **meta)

    def run(self, *arguments: str) -> Ran:
        """The command line; without arguments, `run --yes`."""
        return self.business.cli(*(arguments or ("run", "--yes")))

    def succeeds(self, *arguments: str) -> Ran:
        """A run that leaves nothing undone."""
        ran = self.run(*arguments)
        assert ran.exit_code == 0, ran.text
        return ran

    def fails(self, *arguments: str) -> Ran:
        """A run that leaves something undone, and says so by its exit code."""
        ran = self.run(*arguments)
        assert ran.exit_code == 1, ran.text
        return ran

    def objects(self, kind: str) -> list[dict[str, Any]]:
        return self.stripe.objects(kind)

    def living(self, kind: str, is_alive: Callable[[dict[str, Any]], bool] = lambda _: True) -> list[dict[str, Any]]:
        """The objects that are in use: not archived, canceled or deleted."""
        ended = {"canceled", "incomplete_expired", "void"}
        every = self.objects(kind)
        return [o for o in every if o.get("active", True) and o.get("status") not in ended and is_alive(o)]

    def only(self, kind: str) -> dict[str, Any]:
        """The one object in use."""
        (found,) = self.living(kind)
        return found

    def owed(self) -> int:
        """How many steps the state still owes."""
        with duckdb.connect(str(self.business.state), read_only=True) as state:
            return int(state.execute("SELECT count(*) FROM owed").fetchall()[0][0])

    def writes(self) -> list[str]:
        """What was sent since the last look."""
        return self.business.write_calls()

    def check_settled(self) -> None:
        """A further run succeeds, sends nothing and owes nothing."""
        self.stripe.reset_requests()
        ran = self.run()
        assert (ran.exit_code, self.writes(), self.owed()) == (0, [], 0), ran.text
