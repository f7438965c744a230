"""Tests of backends on a Django application."""
