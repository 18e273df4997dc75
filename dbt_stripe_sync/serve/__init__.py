"""A server that receives dbt Cloud's webhooks and syncs what each finished run built, one after the other."""

from dbt_stripe_sync.serve.options import ServeOptions, read_serve_options
from dbt_stripe_sync.serve.server import serve

__all__ = ["ServeOptions", "read_serve_options", "serve"]
