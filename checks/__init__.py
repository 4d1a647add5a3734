"""Checks as data: one YAML file each, with a passing and a failing example under `examples/`."""
