"""Every recorded operator: its output and its first gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stylegan import images as pixels
from stylegan.networks.layers import SQRT2, EqualizedConv2d, EqualizedLinear, EqualizedWeight
from stylegan.official import images_from_uint8, images_to_uint8
from stylegan.ops import fade, resample, style
from stylegan.ops.switch import using_ops
from tests.parity.case import recorded, tensor

OPS = recorded("ops")


@pytest.fixture(autouse=True, params=["reference", "fast"])
def _both_forms_of_the_operators(request: pytest.FixtureRequest):
    with using_ops(request.param):
        yield


# a case takes x and the raw official variables by name, and gives y
Variables = dict[str, torch.Tensor]
Case = Callable[[torch.Tensor, Variables], torch.Tensor]


def _conv(weight: torch.Tensor) -> torch.Tensor:
    return weight.permute(3, 2, 0, 1)  # [k, k, in, out] -> [out, in, k, k]


def _scaled(
    weight: torch.Tensor, gain: float = SQRT2, lrmul: float = 1.0, equalized: bool = True
) -> torch.Tensor:
    """The weight that acts; the multiplier is the project's own."""
    return weight * EqualizedWeight(tuple(weight.shape), gain, lrmul, equalized).scale


def _plain_conv(gain: float = SQRT2, equalized: bool = True) -> Case:
    def case(x: torch.Tensor, v: Variables) -> torch.Tensor:
        weight = _conv(v["weight"])
        out, inputs, k, _ = weight.shape
        layer = EqualizedConv2d(inputs, out, k, gain=gain, equalized=equalized, bias=False)
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    return case


def _up_conv(fused: bool) -> Case:
    def case(x: torch.Tensor, v: Variables) -> torch.Tensor:
        weight = _scaled(_conv(v["weight"]))
        return resample.upscale_conv2d(x, weight.flip(2, 3) if fused else weight)

    return case


def _down_conv(x: torch.Tensor, v: Variables) -> torch.Tensor:
    return resample.conv_downscale2d(x, _scaled(_conv(v["weight"])))


def _dense(gain: float = SQRT2, lrmul: float = 1.0, equalized: bool = True) -> Case:
    def case(x: torch.Tensor, v: Variables) -> torch.Tensor:
        inputs, out = v["weight"].shape
        layer = EqualizedLinear(inputs, out, gain=gain, lrmul=lrmul, equalized=equalized, bias="bias" in v)
        return torch.func.functional_call(
            layer, {name: t.T if t.ndim == 2 else t for name, t in v.items()}, (x,)
        )

    return case


def _bias(x: torch.Tensor, v: Variables) -> torch.Tensor:
    layer = EqualizedConv2d(x.shape[1], x.shape[1], 1, gain=1.0, equalized=False)
    unit = torch.eye(x.shape[1])[:, :, None, None]
    return torch.func.functional_call(layer, {"weight": unit, "bias": v["bias"]}, (x,))


def _style(x: torch.Tensor, v: Variables) -> torch.Tensor:
    weight = v["StyleMod/weight"]
    layer = EqualizedLinear(*weight.shape, gain=1.0)
    s = torch.func.functional_call(
        layer, {"weight": weight.T, "bias": v["StyleMod/bias"]}, (tensor(OPS["style_mod/dlatent"]),)
    )
    return style.modulate(x, s.reshape(len(x), 2, -1))


def _noise(x: torch.Tensor, v: Variables) -> torch.Tensor:
    return style.add_noise(x, tensor(OPS["apply_noise/noise"]), v["Noise/weight"])


CASES: dict[str, Case] = {
    "blur2d_8": lambda x, v: resample.blur2d(x),
    "blur2d_4": lambda x, v: resample.blur2d(x),
    "blur2d_rect": lambda x, v: resample.blur2d(x),
    "blur2d_1331": lambda x, v: resample.blur2d(x, (1.0, 3.0, 3.0, 1.0)),
    "blur2d_nonorm": lambda x, v: resample.blur2d(x, normalize=False),
    "upscale2d_2": lambda x, v: resample.upscale2d(x),
    "upscale2d_4": lambda x, v: resample.upscale2d(x, 4),
    "downscale2d_2": lambda x, v: resample.downscale2d(x),
    "downscale2d_4": lambda x, v: resample.downscale2d(x, 4),
    "conv2d_k3": _plain_conv(),
    "conv2d_k1": _plain_conv(gain=1.0),
    "conv2d_k3_nows": _plain_conv(equalized=False),
    "upconv__fused": _up_conv(fused=True),
    "upconv__unfused": _up_conv(fused=False),
    "downconv__fused": _down_conv,
    "downconv__unfused": _down_conv,
    "upconv_auto32": _up_conv(fused=False),
    "upconv_auto64": _up_conv(fused=True),
    "downconv_auto64": _down_conv,
    "downconv_auto128": _down_conv,
    "dense_2d": _dense(),
    "dense_4d": _dense(gain=1.0),
    "dense_lrmul": _dense(lrmul=0.01),
    "dense_nows_lrmul": _dense(lrmul=0.01, equalized=False),
    "apply_bias": _bias,
    "leaky_relu": lambda x, v: style.activate(x),
    "pixel_norm_2d": lambda x, v: style.pixel_norm(x),
    "pixel_norm_4d": lambda x, v: style.pixel_norm(x),
    "instance_norm": lambda x, v: style.instance_norm(x),
    "instance_norm_tiny": lambda x, v: style.instance_norm(x),
    "style_mod": _style,
    "apply_noise": _noise,
    "mbstd_N8_g4_f1": lambda x, v: style.minibatch_stddev(x),
    "mbstd_N8_g4_f2": lambda x, v: style.minibatch_stddev(x, features=2),
    "mbstd_N3_g4_f1": lambda x, v: style.minibatch_stddev(x),
    "mbstd_N1_g4_f1": lambda x, v: style.minibatch_stddev(x),
    "mbstd_N8_g8_f1": lambda x, v: style.minibatch_stddev(x, 8),
    "mbstd_N4_g2_f3": lambda x, v: style.minibatch_stddev(x, 2, 3),
    "pg_upconv": _up_conv(fused=True),
    "pg_downconv": _down_conv,
    "pg_downscale4": lambda x, v: resample.downscale2d(x, 4),
    "pg_pixel_norm": lambda x, v: style.pixel_norm(x),
    "pg_mbstd": lambda x, v: style.minibatch_stddev(x),
}
OTHERS = {"lerp", "lerp_clip", "to_uint8", "from_uint8", "pil", "process_reals"}  # tests of their own below


def test_every_recorded_operator_has_a_test() -> None:
    assert {key.split("/")[0] for key in OPS.arrays} == CASES.keys() | OTHERS


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    def recorded_under(part: str) -> dict[str, np.ndarray]:
        prefix = f"{name}/{part}/"
        return {key.removeprefix(prefix): a for key, a in OPS.arrays.items() if key.startswith(prefix)}

    x = tensor(OPS[f"{name}/x"]).requires_grad_()
    v = {key: tensor(a).requires_grad_() for key, a in recorded_under("var").items()}
    y = CASES[name](x, v)
    OPS.check(f"{name}/y", y)
    if f"{name}/dy" not in OPS.arrays:
        return
    dx, *dvars = torch.autograd.grad(y, [x, *v.values()], tensor(OPS[f"{name}/dy"]))
    OPS.check(f"{name}/dx", dx)
    assert recorded_under("dvar").keys() == v.keys()
    for key, gradient in zip(v, dvars, strict=True):
        OPS.check(f"{name}/dvar/{key}", gradient)


@pytest.mark.parametrize("t", [-0.5, 0.25, 1.5])
def test_lerp(t: float) -> None:
    a, b = tensor(OPS["lerp/a"]), tensor(OPS["lerp/b"])
    OPS.check(f"lerp/t{t}", torch.lerp(a, b, t))
    OPS.check(f"lerp_clip/t{t}", torch.lerp(a, b, min(max(t, 0.0), 1.0)))


def test_to_uint8_truncates() -> None:
    x = tensor(OPS["to_uint8/x"])
    for key, found in {
        "y": images_to_uint8(x),
        "y_nhwc": images_to_uint8(x, nchw_to_nhwc=True),
        "y_shrink2": images_to_uint8(x, shrink=2),
    }.items():
        wanted = OPS[f"to_uint8/{key}"]
        assert found.dtype == torch.uint8
        assert found.shape == wanted.shape
        difference = np.abs(found.numpy().astype(int) - wanted)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01  # only where float32 rounds across a whole number


def test_from_uint8() -> None:
    x = tensor(OPS["from_uint8/x"])
    OPS.check("from_uint8/y", images_from_uint8(x))
    nhwc = images_from_uint8(x.permute(0, 2, 3, 1), nhwc_to_nchw=True)
    OPS.check("from_uint8/y", nhwc)


def test_pictures_are_rounded_like_the_official_sample_sheets() -> None:
    assert np.array_equal(pixels.to_uint8(tensor(OPS["pil/x"])), OPS["pil/y"])


@pytest.mark.parametrize("mirror", [0, 1])
@pytest.mark.parametrize("lod", [0.0, 0.3, 1.0, 1.75, 2.0])
def test_process_reals(lod: float, mirror: int) -> None:
    """Officially: to [-1, 1], flipped by a mask, cross-faded, and enlarged to full size (not done here)."""
    x = pixels.to_float(OPS["process_reals/x"].transpose(0, 2, 3, 1))  # N C H W
    if mirror:
        x = torch.where(tensor(OPS["process_reals/mirror_mask"]) < 0.5, x, x.flip(3))
    x = fade.fade_reals(x, lod)
    OPS.check(f"process_reals/y_lod{lod}_mirror{mirror}", resample.upscale2d(x, 2 ** int(lod)))
