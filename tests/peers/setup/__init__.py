"""Installs, seeds, starts and stops the real software: what `up`, `down` and `reset` do."""
