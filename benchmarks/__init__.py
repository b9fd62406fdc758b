"""Benchmarks; they are not installed with the package."""
