"""One thread per test process: pytest-xdist runs several, and threads that wait for each other cost time."""

import os
import tempfile

os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start as well

os.environ["STYLEGAN_RATES"] = os.path.join(tempfile.gettempdir(), "stylegan-test-rates.json")

import torch

torch.set_num_threads(1)
