"""The small networks for shapes and digits trained, as usual or against attacks, measured and written."""
