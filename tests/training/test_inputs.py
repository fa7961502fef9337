"""Buffers of a static half step: filled anew where they lie, whatever is on the host in one piece."""

from __future__ import annotations

import pytest
import torch

from stylegan.training.inputs import Inputs

DEVICES = [
    "cpu",
    "meta",  # stands for a device that is not the host
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]),
]


def values(device: str, start: float) -> dict[str, torch.Tensor]:
    return {
        "z": torch.arange(15.0).reshape(5, 3) + start,
        "flips": torch.arange(5) % 2 == int(start) % 2,
        "none": torch.zeros(5, 0),
        "seed": torch.tensor(2**62 + int(start)),
        "images": torch.full((5, 1, 2, 2), int(start), dtype=torch.uint8, device=device),
    }


@pytest.mark.parametrize("device", DEVICES)
def test_inputs_are_filled_where_they_lie(device: str) -> None:
    inputs = Inputs(values(device, 0.0), torch.device(device))
    places = dict(inputs.tensors)
    for start in (1.0, 2.0):
        given = values(device, start)
        given["images"] = inputs.tensors["images"] if start == 2.0 else given["images"]
        inputs.fill(given)
        assert all(inputs.tensors[name] is place for name, place in places.items())
        for name, value in given.items():
            assert places[name].dtype == value.dtype
            assert places[name].shape == value.shape
            assert places[name].device.type == device
            if device != "meta":
                assert torch.equal(places[name].cpu(), value.cpu()), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_what_crosses_lies_side_by_side() -> None:
    inputs = Inputs(values("cuda", 0.0), torch.device("cuda"))
    storages = {name: tensor.untyped_storage().data_ptr() for name, tensor in inputs.tensors.items()}
    assert len({storages[name] for name in ("z", "flips", "seed")}) == 1
    assert storages["images"] != storages["z"]
