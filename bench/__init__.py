"""Benchmarks: each a module with a figure of its own, run as ``python -m bench.NAME --json``."""
