"""Decides what a row that differs needs, from data alone: no I/O."""
