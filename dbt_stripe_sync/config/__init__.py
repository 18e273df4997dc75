"""Turns dbt meta into syncs, and reports every problem at once."""
