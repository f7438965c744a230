"""What helps to test."""
