"""Backends on namespaces."""
