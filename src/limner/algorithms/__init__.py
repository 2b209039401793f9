"""Training objectives and inference-time methods. None names a family."""
