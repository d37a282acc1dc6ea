"""What changes? Training loops as generators: they change parameters and yield records; you plot, print, or stop."""
