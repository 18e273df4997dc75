"""Keep Stripe in step with a warehouse, from dbt models tagged in YAML."""

__version__ = "0.1.0"
