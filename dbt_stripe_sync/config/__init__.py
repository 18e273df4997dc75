"""dbt meta to syncs, with every problem at once."""
