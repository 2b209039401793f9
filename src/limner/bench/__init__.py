"""Benchmarks: tasks, a judge and a table."""
