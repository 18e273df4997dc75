"""What one row that differs needs, decided from data alone: no I/O."""
