"""Rows as Arrow, read with the settings of the project's own dbt profile."""
