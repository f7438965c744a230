"""What people see: a real browser on the example and on pages that use the client's features."""
