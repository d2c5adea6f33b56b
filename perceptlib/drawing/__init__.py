"""How things look: pictures and maps as panels, figures in one style, and what a figure shows as rows."""
