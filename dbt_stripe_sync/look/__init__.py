"""What is there, without changing anything: rows as they would be sent, the catalogue, the health of each part."""
