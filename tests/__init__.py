"""The tests. Their environment variables are set before anything is imported."""

import os

# One thread a process: two busy processes of two threads each are slower on two cores than one
# after the other, and sums come in the same order whatever else runs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
