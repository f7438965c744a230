"""The documentation: its site, and the code in it."""
