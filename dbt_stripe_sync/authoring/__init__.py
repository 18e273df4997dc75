"""What is written for the user into the dbt project: a first sync, and exposures for its lineage."""
