"""What can refuse a request: one module for each engine."""
