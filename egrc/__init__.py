"""Entropy-Guided Reasoning Compression: a reproducible companion.  The map of the package is in README.md."""
