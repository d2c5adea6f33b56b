"""For each notebook a module or folder of its name: its numbers, tables and figures.

A notebook imports from here and from the core; `perceptlib.pages.explorer` makes what the explorer's page shows.
"""
