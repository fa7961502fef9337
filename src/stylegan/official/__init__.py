"""Official StyleGAN and Progressive GAN networks: from their function names, arguments and variables."""

from stylegan.official.build import build
from stylegan.official.images import images_from_uint8, images_to_uint8

__all__ = ["build", "images_from_uint8", "images_to_uint8"]
