"""Integrations for Dagster, Airflow, Prefect and GitHub Actions. Each module needs the orchestrator in its name."""
