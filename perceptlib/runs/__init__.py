"""Notebooks run with a reader's parameters: one, or a grid of them, and the pages that show what came out."""
