"""Backends on a Django application. Nothing here is imported unless somebody uses Django."""

from .context import has_request, request

__all__ = ["has_request", "request"]
