"""The networks: Generator (mapping + synthesis) and Discriminator."""

from stylegan.networks.discriminator import Discriminator
from stylegan.networks.generator import Generator
from stylegan.networks.mapping import MappingNetwork
from stylegan.networks.replay import Replay
from stylegan.networks.synthesis import SynthesisNetwork

__all__ = ["Discriminator", "Generator", "MappingNetwork", "Replay", "SynthesisNetwork"]
