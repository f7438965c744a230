"""inspector: a page that shows what an application's clients and backends do, as they do it.

It is an ordinary page of Backbone collections over this library. Nothing is watched while nobody
looks.
"""

from .page import inspector

__all__ = ["inspector"]
