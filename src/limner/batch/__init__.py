"""Batch jobs: rows of work, workers that claim them, results that are appended; a job may be killed at any time."""
