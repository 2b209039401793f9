"""Data that comes from outside: one format on disk, read from files of several kinds, mixed, and never half trusted."""
