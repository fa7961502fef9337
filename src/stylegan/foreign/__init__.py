"""PyTorch checkpoints of other StyleGAN programs: rosinality/style-based-gan-pytorch, huangzh13/StyleGAN.pytorch."""

from stylegan.foreign.checkpoint import Checkpoint, read_checkpoint

__all__ = ["Checkpoint", "read_checkpoint"]
