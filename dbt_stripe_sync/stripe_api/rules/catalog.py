"""All rules of an operation: those in the table, and those that follow from the catalog's parameters."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from msgspec.structs import replace

from dbt_stripe_sync.model.params import ParamKind
from dbt_stripe_sync.stripe_api.rules.billing import DistinctPrices, OneCurrency, PhasesInOrder
from dbt_stripe_sync.stripe_api.rules.descriptions import read_checks, read_conditions
from dbt_stripe_sync.stripe_api.rules.lengths import DEFAULT
from dbt_stripe_sync.stripe_api.rules.numbers import Between, WholeAmount
from dbt_stripe_sync.stripe_api.rules.rule import CREATE, OPENAPI, SDK, WRITES, Rule
from dbt_stripe_sync.stripe_api.rules.shapes import MaxItems, MaxSubscriptionItems, Metadata
from dbt_stripe_sync.stripe_api.rules.table import table_rules
from dbt_stripe_sync.stripe_api.rules.texts import Country, Currency, Matches, MaxCharacters
from dbt_stripe_sync.stripe_api.rules.together import Excludes, InOrder, NeedsOneOf, NeedsWhen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dbt_stripe_sync.model.params import Param, Resource
    from dbt_stripe_sync.stripe_api.rules.rule import Check

_NEEDED = "docs.stripe.com/error-codes#parameter-missing; the API reference of the create call"
_METADATA = "docs.stripe.com/api/metadata"
# A guess: `whole-amounts`.
_THREE_DECIMALS = "docs.stripe.com/currencies#three-decimal"
# Names of integer amounts in a currency's smallest unit. Amounts of meters and thresholds aren't.
_CURRENCIES = frozenset({"currency", "minimum_amount_currency"})
_AMOUNTS = frozenset({"unit_amount", "amount", "amount_off", "flat_amount", "minimum_amount"})
# Checks that make the default length limit of texts redundant.
_BOUNDED = (MaxCharacters, Matches, Currency, Country)
# An entry of the table also replaces a check of this other kind, derived from the parameter's description.
_EQUIVALENT_CHECKS: Mapping[type, type] = {MaxSubscriptionItems: MaxItems}
# A check of a list applies if its items have this parameter.
_ITEM_PARAMETERS: Mapping[type, str] = {DistinctPrices: "price", OneCurrency: "price_data", PhasesInOrder: "end_date"}


@cache
def rules_of(resource: Resource, operation: str) -> tuple[Rule, ...]:
    """Return every rule of an operation.

    A rule without a source is a guess. There are no rules for parameters that the resource lacks.
    """
    described = resource.operations.get(operation)
    if described is None:
        return ()
    rows = [rule for rule in table_rules(resource.name) if operation in rule.operations and operation in WRITES]
    if operation == CREATE:
        needed = resource.lifecycle.needs_one_of
        rows += [Rule(path="", check=NeedsOneOf(names), source=_NEEDED) for names in needed]
    taken = {_identity_of(rule) for rule in rows}
    params = {name: param for name, param in described.params.items() if name not in described.path_params}
    derived = [rule for rule in _derive("", params, in_currency=False) if _identity_of(rule) not in taken]
    return (*_reachable(rows, params), *derived)


def _identity_of(rule: Rule) -> tuple[object, ...]:
    """Return a rule's place and kind. If a derived rule has the same, the table's entry replaces it."""
    sides = rule.check.sides if isinstance(rule.check, Between) else None
    needed = rule.check.names if isinstance(rule.check, NeedsOneOf | NeedsWhen) else None
    other = rule.check.other if isinstance(rule.check, Excludes) else None
    return rule.path, _EQUIVALENT_CHECKS.get(type(rule.check), type(rule.check)), sides, needed, other


def _reachable(rows: list[Rule], params: Mapping[str, Param]) -> Iterator[Rule]:
    """Yield the entries whose parameters the operation has."""
    for rule in rows:
        level: Mapping[str, Param] | None = params
        for step in rule.path.replace("[]", "").replace(".*", "").split(".") if rule.path else ():
            param = (level or {}).get(step)
            if param is None:
                break
            level = param.inner
        else:
            if _names_inside(rule.check) <= (level or {}).keys():
                yield replace(rule, check=_without_missing(rule.check, level or {}))


def _without_missing(check: Check, level: Mapping[str, Param]) -> Check:
    """Return a check without required parameters that the operation lacks."""
    if not isinstance(check, NeedsOneOf):
        return check
    names, instead = (tuple(name for name in names if name in level) for names in (check.names, check.instead))
    return replace(check, names=names, instead=instead)


def _names_inside(check: Check) -> set[str]:
    """Return the parameters of a hash that must exist for a check to apply."""
    if isinstance(check, NeedsWhen):
        return {check.trigger, check.names[0]}
    if isinstance(check, NeedsOneOf):
        return {check.names[0]}
    if type(check) in _ITEM_PARAMETERS:
        return {_ITEM_PARAMETERS[type(check)]}
    if isinstance(check, InOrder):
        return {check.earlier.partition(".")[0], check.later.partition(".")[0]}
    return set()


def _derive(prefix: str, params: Mapping[str, Param], *, in_currency: bool) -> Iterator[Rule]:
    known = in_currency or not _CURRENCIES.isdisjoint(params)
    for name, param in params.items():
        for check, sentence, is_of_hash in read_conditions(param, params):
            path = prefix.removesuffix(".") if is_of_hash else f"{prefix}{name}"
            yield Rule(path=path, check=check, source=f"{SDK}: {sentence}")
        yield from _derive_one(f"{prefix}{name}", param, in_currency=known or name == "currency_options")


def _derive_one(path: str, param: Param, *, in_currency: bool) -> Iterator[Rule]:
    """Yield the rules of a parameter and of everything below it.

    `in_currency` says that a request can name the parameter's currency.
    """
    checks = [(check, f"{SDK}: {sentence}") for check, sentence in read_checks(param)]
    if param.kind is ParamKind.MAP and param.name.endswith("metadata"):
        yield Rule(path=path, check=Metadata(), source=_METADATA)
        return
    if param.kind is ParamKind.INTEGER and param.name in _AMOUNTS and in_currency:
        checks.append((WholeAmount(), _THREE_DECIMALS))
    if param.kind is ParamKind.STRING and not param.enum and not _has_length(checks):
        checks.append((MaxCharacters(DEFAULT), OPENAPI))
    for check, source in checks:
        yield Rule(path=path, check=check, source=source)
    if param.fields:
        yield from _derive(f"{path}.", param.fields, in_currency=in_currency)
    if param.item is not None:
        yield from _derive_one(f"{path}[]", param.item, in_currency=in_currency)
    if param.values is not None:
        yield from _derive_one(f"{path}.*", param.values, in_currency=in_currency)


def _has_length(checks: Sequence[tuple[Check, str]]) -> bool:
    return any(isinstance(check, _BOUNDED) for check, _ in checks)
