"""Loads rows into staging tables, joins their references, and compares them with the records in SQL."""
