"""Judges: what is asked of a sample, and how well it was done."""
