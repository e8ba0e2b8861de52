"""Comparison of runs: scores with intervals, paired tests, plots of settings."""
