"""Admission: which requests are refused, and what takes a subject out of that. Pure."""
