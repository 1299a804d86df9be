"""One thread for the small networks of the tests: several would mostly wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
