"""limner."""
