"""Writes files into the user's dbt project: a first sync, seeds, and exposures for the lineage graph."""
