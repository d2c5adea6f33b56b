"""Notebook 11: the verdicts on the claims, and what the book says of them before all else."""
