"""The blur and the epilogue after it as one operator: kernels against float64, and whole generators with them.

    TRITON_INTERPRET=1 python -m pytest tests/ops/test_layer_kernels.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from stylegan.networks import Generator
from stylegan.ops import fused, fused_blur, fused_layer, switch
from stylegan.ops.resample import blur2d, blur_epilogue
from stylegan.ops.style import compose_epilogue, style_epilogue
from tests.ops import test_kernels
from tests.ops.test_kernels import DEVICE, Inputs, close, epilogue_inputs, laid_out, normal
from tests.training.small import small

fast_and_poisoned = test_kernels.fast_and_poisoned  # a fixture: kernels on, every new tensor full of NaN
on_kernels = [*test_kernels.pytestmark, pytest.mark.usefixtures("fast_and_poisoned")]
