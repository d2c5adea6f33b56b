"""Notebook 05: the smallest perturbation that fools, beside other attacks, and other libraries' searches."""
