"""Measured figures. Absolute ones are printed, ratios within one run are judged. `make bench` runs all of it."""
