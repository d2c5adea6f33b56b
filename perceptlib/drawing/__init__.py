"""How things look: the one style and every method's look, lines and intervals, pictures and maps, tables of frames."""
