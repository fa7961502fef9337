"""One thread per test process: pytest-xdist runs several, and threads that wait for each other cost time."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests start as well

import torch

torch.set_num_threads(1)
