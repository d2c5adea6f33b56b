"""The study: its configuration, the pictures and networks of a preset, what is measured of each picture, and the runner that keeps every row.

Presets and pictures, `run_study`, its rows, and the comparisons of attacks and maps on them."""
