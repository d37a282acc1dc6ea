"""rlcore beside its peers, side by side in one process: time, error, memory. `python -m benchmarks [name …]`."""
