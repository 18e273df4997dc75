"""Rows into staging tables: joined with what they refer to, and compared with the records in SQL."""
