"""The lifecycle of each resource in the catalog: its entry in `lifecycles`, or what follows from its operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dbt_stripe_sync.model.lifecycle import Lifecycle, Mode, Removal, Step
from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.stripe_api.lifecycles import ARCHIVE, INSERT_ONLY, LIFECYCLES, NEVER_UPDATED
from dbt_stripe_sync.stripe_api.refusals import REFUSED
from dbt_stripe_sync.stripe_api.rules.counts import COUNTS, CURRENCIES
from dbt_stripe_sync.stripe_api.rules.named_prices import FIRST_BILLS, PRICES_NAMED
from dbt_stripe_sync.stripe_api.rules.statuses import foreseen_fixed
from dbt_stripe_sync.stripe_api.rules.times import WINDOWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dbt_stripe_sync.model.params import Param, Resource

# Fields that identify an object by themselves, if a resource has them.
_NAMES = ("lookup_key", "code", "email", "alias", "value", "domain_name", "serial_number")
# List parameters that split all objects in two, with the value for those in use; and the keyword for any status.
_SWITCHES = {"active": True, "archived": False}
_EVERY_STATUS = "all"
_REMOVING_OPERATIONS = {"delete": Removal.DELETE, "cancel": Removal.CANCEL, "deactivate": Removal.DEACTIVATE}


def build_lifecycle(resource: Resource) -> Lifecycle:
    """Return the lifecycle of a resource in the catalog."""
    found = LIFECYCLES.get(resource.name) or derive_lifecycle(resource)
    listing = resource.operations.get("list")
    return replace(
        found,
        fixed=foreseen_fixed(resource.name),
        at_most=COUNTS.get(resource.name),
        one_currency=CURRENCIES.get(resource.name),
        prices_named=PRICES_NAMED.get(resource.name, ()),
        first_bill=FIRST_BILLS.get(resource.name),
        windows=WINDOWS.get(resource.name, {}),
        refused=REFUSED.get(resource.name),
        listed_with=_lists_of_all(listing.params) if listing else ({},),
        # docs.stripe.com/api/customers/list, subscriptions/list and quotes/list: objects of test clocks are omitted.
        hides_test_clocks=listing is not None and "test_clock" in listing.params,
    )


def _lists_of_all(params: Mapping[str, Param]) -> tuple[Mapping[str, Any], ...]:
    """Return the parameters of the lists that together contain every object, whatever a plain list omits.

    docs.stripe.com/api/prices/list contains only active prices, and docs.stripe.com/api/subscriptions/list all
    subscriptions except canceled ones. For other resources, the documentation doesn't always say, so a plain list isn't
    assumed to be complete.
    """
    status = params.get("status")
    if status is not None and _EVERY_STATUS in status.enum:
        return ({"status": _EVERY_STATUS},)
    switch = next((name for name in _SWITCHES if name in params and params[name].kind is ParamKind.BOOLEAN), None)
    return ({switch: _SWITCHES[switch]}, {switch: not _SWITCHES[switch]}) if switch else ({},)


def derive_lifecycle(resource: Resource) -> Lifecycle:
    """Return the lifecycle that follows from a resource's operations and parameters alone."""
    params, operations = resource.params, resource.operations
    changes = "update" in operations
    removals = {removal: Step(operation=name) for name, removal in _REMOVING_OPERATIONS.items() if name in operations}
    active = params.get("active")
    if changes and active is not None and active.kind is ParamKind.BOOLEAN and active.updatable:
        removals[Removal.ARCHIVE] = ARCHIVE
    listing = operations.get("list")
    listed = listing is not None and not listing.path_params and not any(p.required for p in listing.params.values())
    names = [name for name in _NAMES if name in params] if listed else []
    metadata = ("metadata",) if "metadata" in params and listed else ()
    return Lifecycle(
        found_by=(*(("id",) if "retrieve" in operations else ()), *names, *metadata),
        modes=frozenset(Mode) if changes else INSERT_ONLY if not removals else NEVER_UPDATED,
        on_removed=removals,
        own_id="id" in params and not params["id"].in_path,
        tagged="metadata" in params,
        permanent=frozenset(removals) - {Removal.ARCHIVE},
        listed=listed,
    )
