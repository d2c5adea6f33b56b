"""Notebook 13: networks side by side; and what each network is, as one page of the book lists them."""

from perceptlib.pages.networks.accuracy import accuracies, network_table, numbers, record_accuracies

__all__ = ["accuracies", "network_table", "numbers", "record_accuracies"]
