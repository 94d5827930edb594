"""Installs, seeds, starts and stops the real software; used by the commands `up`, `down` and `reset`."""
