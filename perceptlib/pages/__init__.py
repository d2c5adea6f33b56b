"""One module or folder a notebook: its numbers, tables and figures. A notebook imports from here and from the core."""
