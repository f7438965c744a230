"""Backends on a Flask application. Nothing here is imported unless the application is one."""
