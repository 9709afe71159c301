"""Probes: a model and a batch in, rows out."""
