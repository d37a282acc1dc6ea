"""What do we see? One style, plots from data to axes, and explorers whose sliders call tested functions."""
