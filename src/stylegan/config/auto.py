"""`--preset auto`: settings chosen from the data and the device, each with its reason.

The rules, in one place. Sources: widths, batches and learning rates are the paper's (appendix C); gamma
follows the number of pixels as practitioners of R1 do (gamma grows with the area; 10 at 1024x1024 in the
paper's units, see `stylegan.training.losses`); length and width follow the amount of data and the machine. Small
data take what won the comparison at equal minutes (docs/comparison.md): full size from the start, and the
relativistic pairing with R1 and R2 (Huang et al. 2025, 2501.05441).
"""

from __future__ import annotations

from dataclasses import dataclass

from stylegan import lod as lods
from stylegan.config.presets import Diff


@dataclass(frozen=True)
class Facts:
    """What the choice depends on."""

    images: int
    height: int
    width: int
    channels: int
    classes: int
    device: str  # cpu, cuda, mps
    memory_gb: float = 0.0  # of one GPU; 0 = unknown
    processes: int = 1
    bf16: bool = False  # whether the device computes in bfloat16 natively
    unpaired: bool = False  # something was set that does not go with the relativistic pairing


SMALL_DATA, SMALL_SIDE = 50_000, 256  # images below which, and size up to which, the comparison speaks


@dataclass(frozen=True)
class Choice:
    """One setting and why."""

    setting: str
    value: str
    reason: str
    fields: tuple[str, ...] = ()  # dotted names it decides; what the user sets there counts instead


def choose(facts: Facts, total_kimg: float | None = None, r1_gamma: float | None = None) -> tuple[Diff, list[Choice]]:
    """(difference to the schema's defaults, the reasons) for data and a device.

    total_kimg: the length the user wants, None = chosen; the phases of growing follow from it. r1_gamma: the weight the
    user wants, None = chosen; R2's follows.
    """
    h0, w0, top = lods.split_size(facts.height, facts.width)
    side = lods.nominal(top)
    cpu = facts.device == "cpu"
    size = f"{facts.width}x{facts.height}"
    choices = [Choice("resolution", size, f"the data's size; base {w0}x{h0}, {top} doublings")]

    if cpu:
        base, most, why = 512, 64, "a CPU: an eighth of the paper's widths"
    elif facts.images < 20_000 and side <= 256:
        base, most, why = 4096, 256, f"{facts.images:,} images are learned by heart by wider networks"
    else:
        base, most, why = 8192, 512, "the paper's widths"
    latent = 128 if cpu else 512
    widths = f"fmap_base {base}, fmap_max {most}, z and w {latent}"
    choices.append(Choice("widths", widths, why, ("generator.fmap_max", "discriminator.fmap_max")))

    paired = not facts.unpaired and facts.images < SMALL_DATA and side <= SMALL_SIDE
    batches = {4: 64, 8: 64, 16: 32, 32: 32} if cpu else {4: 512, 8: 256, 16: 128, 32: 64, 64: 64, 128: 32, 256: 32}
    batch = 32 if cpu or not facts.memory_gb or facts.memory_gb > 20 else 16
    batches = {r: b for r, b in batches.items() if r <= side}
    choices.append(
        Choice(
            "batch",
            f"{batches.get(side, batch)}" + ("" if paired else " at full size, more below"),
            "the paper's batches for 8 GPUs, which a modern one takes" if not cpu else "small batches learn sooner",
            ("schedule.batch", "schedule.batch_by_resolution"),
        )
    )
    micro = 0
    if facts.memory_gb:
        per_image = 0.012 * (facts.height * facts.width) / 128**2 * base / 8192
        micro = max(4, int(0.6 * facts.memory_gb / per_image) // 4 * 4)
        why = f"what fits {facts.memory_gb:.0f} GB, by estimate"
        choices.append(Choice("micro batch", f"at most {micro}", why, ("training.micro_batch",)))

    gamma = round(max(0.5, 10 * (side / 1024) ** 0.5 * (0.5 if facts.images > 50_000 else 1.0)), 1)
    if paired:
        gamma = round(max(1.0, 3 * (side / 1024) ** 0.5), 1) if r1_gamma is None else r1_gamma
        why = f"of {facts.images:,} images at {side}, D learns more from pairs of a real and a drawn one"
        choices.append(Choice("loss", "relativistic, with R1 and R2", why, ("loss.kind", "loss.r2_gamma")))
        choices.append(Choice("gamma", f"{gamma:g} for both", "1 up to 128", ("loss.r1_gamma",)))
    else:
        choices.append(Choice("r1_gamma", f"{gamma:g}", f"10 at 1024, less at {side}", ("loss.r1_gamma",)))

    passes = 1000 if facts.images < 5_000 else 400
    total = min(25_000, max(50, facts.images * passes / 1000))
    if cpu:
        total = min(total, 400)
    if total_kimg is not None:
        total = float(total_kimg)
    steps = max(top - 1, 1)  # from nominal 8 up
    phase = 600.0 if total >= 25_000 else round(total * 0.45 / (2 * steps), 4)
    why = f"about {1000 * total / max(facts.images, 1):,.0f} passes over the data; half of it at full resolution"
    if total_kimg is None and total >= 25_000:
        why = "the paper's schedule"
    value = f"{total:g} kimg, phases of {phase:g} kimg"
    if paired:
        value, why = f"{total:g} kimg", f"about {1000 * total / max(facts.images, 1):,.0f} passes over the data"
        reason = "growing takes minutes that small data do not repay"
        choices.append(Choice("growing", "none", reason, ("schedule.grow",)))
    choices.append(Choice("length", value, why, ("schedule.stable_kimg", "schedule.fade_kimg")))
    held = min(256, facts.images // 20) if facts.images >= 1000 else 0
    why = "never trained on: they show whether D learns the others by heart"
    why = why if held else f"each of {facts.images:,} images counts"
    choices.append(Choice("held out", f"{held:,} images" if held else "no image", why, ("data.holdout",)))
    precision = "bf16" if facts.bf16 and not cpu else "fp32"
    why = "native on this device" if precision == "bf16" else "exact everywhere"
    choices.append(Choice("precision", precision, why, ("training.precision",)))
    ema = min(10.0, max(0.5, total / 100))
    if facts.classes:
        choices.append(Choice("labels", f"{facts.classes} classes", "the data has them and --labels was given"))

    diff: Diff = {
        "data": {"holdout": held},
        "generator": {"fmap_base": base, "fmap_max": most, "z_dim": latent, "w_dim": latent, "mapping_width": latent},
        "discriminator": {"fmap_base": base, "fmap_max": most},
        "schedule": {
            "total_kimg": total,
            "initial_resolution": min(8, side),
            "stable_kimg": phase,
            "fade_kimg": phase,
            "batch": batch,
            "batch_by_resolution": batches,
            "tick_kimg": max(0.01, round(total / 200, 2)),
            "tick_kimg_by_resolution": {},
            "lr": 0.002 if cpu else 0.001,
            "lr_by_resolution": {} if cpu else {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003},
        },
        "loss": {"r1_gamma": gamma},
        "training": {"precision": precision, "ema_kimg": ema, "micro_batch": micro},
    }
    if paired:
        diff["loss"] |= {"kind": "relativistic", "r2_gamma": gamma}
        diff["schedule"] |= {"grow": False, "lr": 0.0025 if side <= 64 and not cpu else 0.002, "lr_by_resolution": {}}
    return diff, choices
