"""The DuckDB state store: what was last written to Stripe."""
