"""Drift: baseline and live → changes → causes → findings, their groups and their life. Pure."""
