"""Training: schedule, losses, one step, checkpoints, reports, and the loop that joins them."""

from stylegan.training.loop import Result, train

__all__ = ["Result", "train"]
