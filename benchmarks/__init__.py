"""Measurements: every number is a ratio to a reference timed in the same run."""
