"""A sync as a step of Dagster, Airflow, Prefect or GitHub Actions; each module needs what its name says."""
