"""Data: sources of images -> a prepared resolution pyramid -> batches at any position and resolution."""

from stylegan.data.cache import open_or_prepare
from stylegan.data.dataset import Dataset
from stylegan.data.loader import Loader, Request
from stylegan.data.prepare import prepare_arrays
from stylegan.data.sampler import epoch_indices

__all__ = ["Dataset", "Loader", "Request", "epoch_indices", "open_or_prepare", "prepare_arrays"]
