"""Models as YAML, and problems as a user reads them."""

import json

import yaml

from dbt_stripe_sync.config.sync import parse_syncs
from dbt_stripe_sync.model.nodes import ColumnNode, ModelNode
from dbt_stripe_sync.stripe_api.catalog import read_catalog


def through_json(value):
    """Meta as it comes out of a manifest: keys are texts, whatever YAML made of them."""
    return json.loads(json.dumps(value))


def model(name, meta, *, raw_meta=None, columns=None):
    return ModelNode(
        unique_id=f"model.shop.{name}",
        name=name,
        package="shop",
        resource_type="model",
        materialized="table",
        file="models/schema.yml",
        path=f"models/{name}.sql",
        fqn=("shop", name),
        depends_on=(),
        relation=f'"db"."main"."{name}"',
        sql=None,
        meta=through_json(meta),
        raw_meta=through_json(raw_meta) if raw_meta is not None else None,
        columns={c: ColumnNode(name=c, meta=through_json(m)) for c, m in (columns or {}).items()},
    )


def text_of(problem):
    """A problem as the command line prints it."""
    lines = [f"{problem.severity.value}[{problem.code}]: {problem.summary}", f"  at {problem.where}"]
    return "\n".join([*lines, "", f"hint: {problem.hint}"] if problem.hint else lines)


class Project:
    """A dbt project in the making."""

    def __init__(self):
        self.nodes = {}

    def add(self, name, text, **options):
        """A model whose meta is this YAML below `stripe_sync:`."""
        block = yaml.safe_load(text)
        node = model(name, {"stripe_sync": block} if block is not None else {}, **options)
        self.nodes[node.unique_id] = node

    def add_plain(self, name):
        node = model(name, {})
        self.nodes[node.unique_id] = node

    def parse(self):
        return parse_syncs(self.nodes, read_catalog(), project="shop")

    def sync(self):
        """The only sync, which has no problems."""
        parsed = self.parse()
        assert [text_of(p) for p in parsed.problems] == []
        (sync,) = parsed.syncs
        return sync

    def problems(self):
        return [text_of(problem) for problem in self.parse().problems]
