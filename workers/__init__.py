"""The daemon's side: the one slot, the trainer process it runs, and what watches it."""
