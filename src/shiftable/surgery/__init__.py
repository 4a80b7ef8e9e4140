"""What a net does, operation by operation: seen, and done otherwise, without touching the net."""
