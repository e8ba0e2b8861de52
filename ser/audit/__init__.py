"""Checks of a corpus before a training: faults of recordings, duplicates, and what labels are confounded with."""
