"""Model families. Each is a distribution over replies; none knows another."""
