"""Tests of backends on a Flask application."""
