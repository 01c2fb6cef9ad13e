"""Benchmarks: what the methods draw and what they cost."""
