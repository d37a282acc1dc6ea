"""rlcore beside its peers, side by side in one process: time, error, memory. `python -m benchmarks [name …]`.

One thread for everybody, set here because the libraries read it when they are imported.
"""

import os

THREADS = 1
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = str(THREADS)
