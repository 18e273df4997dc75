"""All rules of one operation: those of the table, and those that follow from the catalogue's parameters."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from dbt_stripe_sync.stripe_api.catalog import read_catalog
from dbt_stripe_sync.stripe_api.params import ParamKind
from dbt_stripe_sync.stripe_api.rules.descriptions import read_checks
from dbt_stripe_sync.stripe_api.rules.lengths import DEFAULT
from dbt_stripe_sync.stripe_api.rules.numbers import WholeAmount
from dbt_stripe_sync.stripe_api.rules.rule import OPENAPI, SDK, WRITES, Rule
from dbt_stripe_sync.stripe_api.rules.shapes import MaxItems, MaxSubscriptionItems, Metadata
from dbt_stripe_sync.stripe_api.rules.table import table_rules
from dbt_stripe_sync.stripe_api.rules.texts import Matches, MaxCharacters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dbt_stripe_sync.stripe_api.params import Param

_METADATA = "docs.stripe.com/api/metadata"
_THREE_DECIMALS = "docs.stripe.com/currencies#three-decimal"
# Whole amounts in a currency's smallest unit, by their names; those of meters and thresholds are none.
_AMOUNTS = frozenset({"unit_amount", "amount", "amount_off", "flat_amount", "minimum_amount"})
# A row of the table stands in for a check of these kinds that the description of its parameter asks for.
_STAND_INS = {MaxSubscriptionItems: MaxItems}


@cache
def rules_of(resource: str, operation: str) -> tuple[Rule, ...]:
    """Every rule of an operation. One without a source is a guess. None for what the catalogue lacks."""
    found = read_catalog().resource(resource)
    described = found.operation(operation) if found is not None else None
    if described is None:
        return ()
    rows = [rule for rule in table_rules(resource) if operation in rule.operations and operation in WRITES]
    taken = {(rule.path, _STAND_INS.get(type(rule.check), type(rule.check))) for rule in rows}
    params = {name: param for name, param in described.params.items() if name not in described.path_params}
    derived = [rule for rule in _derive("", params) if (rule.path, type(rule.check)) not in taken]
    return (*_reachable(rows, params), *derived)


def _reachable(rows: list[Rule], params: Mapping[str, Param]) -> Iterator[Rule]:
    """The rows whose parameter the operation takes."""
    for rule in rows:
        level: Mapping[str, Param] | None = params
        for step in rule.path.replace("[]", "").split("."):
            param = (level or {}).get(step)
            if param is None:
                break
            level = param.fields or (param.item.fields if param.item is not None else None)
        else:
            yield rule


def _derive(prefix: str, params: Mapping[str, Param]) -> Iterator[Rule]:
    for name, param in params.items():
        yield from _derive_one(f"{prefix}{name}", param)


def _derive_one(path: str, param: Param) -> Iterator[Rule]:
    """The rules of a parameter and of all below it."""
    checks = [(check, f"{SDK}: {sentence}") for check, sentence in read_checks(param)]
    if param.kind is ParamKind.MAP and param.name.endswith("metadata"):
        yield Rule(path=path, check=Metadata(), source=_METADATA)
        return
    if param.kind is ParamKind.INTEGER and param.name in _AMOUNTS:
        checks.append((WholeAmount(), _THREE_DECIMALS))
    if param.kind is ParamKind.STRING and not param.enum and not _has_length(checks):
        checks.append((MaxCharacters(DEFAULT), OPENAPI))
    for check, source in checks:
        yield Rule(path=path, check=check, source=source)
    if param.fields:
        yield from _derive(f"{path}.", param.fields)
    if param.item is not None:
        yield from _derive_one(f"{path}[]", param.item)
    if param.values is not None:
        yield from _derive_one(f"{path}.*", param.values)


def _has_length(checks: list[tuple[object, str]]) -> bool:
    return any(isinstance(check, MaxCharacters | Matches) for check, _ in checks)
