"""Baselines as data: the default roles of each Kubernetes minor, and templates to start from."""
