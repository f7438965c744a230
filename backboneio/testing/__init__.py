"""What helps to test: SyncClient for applications, and suites for parts of one's own."""

from .client import SyncClient, Synced

__all__ = ["SyncClient", "Synced"]
