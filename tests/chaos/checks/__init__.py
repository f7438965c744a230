"""What the checker knows of a run, and what it looks for: one module a subject."""
