"""Notebook 01: what SSIM sees in pictures, and its ball in two dimensions."""
