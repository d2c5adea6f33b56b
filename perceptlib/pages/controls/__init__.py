"""Notebook 07: every score and control of claim D, and the photographs that the page begins with."""
