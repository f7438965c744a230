"""Memories of answers."""
