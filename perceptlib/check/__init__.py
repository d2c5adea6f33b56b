"""What is recorded, computed again and compared."""
