"""Training: a run is a value (`run`), and one loop makes it true (`fit`)."""
