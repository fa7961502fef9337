"""Every knob of the project, as frozen models with a JSON round trip.

A configuration is data: it is printed when a run starts, stored in the run folder and inside every weight
file. Unknown fields are refused, and `stylegan.config.overrides` names the nearest known ones.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stylegan import lod as lods

Nonlinearity = Literal["lrelu", "relu"]
Transformation = Literal[
    "flip", "rotate90", "translate", "scale", "rotate", "stretch", "brightness", "contrast", "hue", "saturation",
    "cutout",
]  # fmt: skip
POLICIES = {  # short names: DiffAugment's three kinds, and ADA's best set (pixel moves, geometry, colour)
    "diffaugment": ("brightness", "saturation", "contrast", "translate", "cutout"),
    "bgc": ("flip", "rotate90", "translate", "scale", "rotate", "stretch", "brightness", "contrast", "hue",
            "saturation"),
}  # fmt: skip
Precision = Literal["fp32", "tf32", "bf16"]


class Section(BaseModel):
    """A frozen group of fields; unknown names are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class ImageShape(Section):
    """What both networks must agree on: size, channels and number of classes."""

    resolution: tuple[int, int] = Field((1024, 1024), description="image height and width in pixels")
    base: tuple[int, int] = Field((0, 0), description="size of level 0; 0,0 = the one nearest to 4x4")
    channels: int = Field(3, ge=1, description="colour channels: 3 RGB, 1 grey, 4 RGBA, or any other count")
    labels: int = Field(0, ge=0, description="number of classes, 0 = unconditional")
    fmap_base: float = Field(8192, gt=0, description="channels at stage s = fmap_base / 2^(s·fmap_decay)")
    fmap_decay: float = Field(1.0, ge=0, description="how fast the channels shrink with resolution")
    fmap_max: int = Field(512, ge=1, description="at most this many channels")
    nonlinearity: Nonlinearity = Field("lrelu", description="leaky ReLU 0.2, or ReLU")
    equalized: bool = Field(True, description="equalised learning rate: weights scaled at run time")
    blur: tuple[float, ...] | None = Field(
        (1.0, 2.0, 1.0), description="binomial filter after up-, before down-sampling; null = none"
    )

    @field_validator("resolution", mode="before")
    @classmethod
    def _square(cls, value: Any) -> Any:
        return (value, value) if isinstance(value, int) else value

    @model_validator(mode="before")
    @classmethod
    def _fill_base(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        size = data.get("resolution", (1024, 1024))
        size = (size, size) if isinstance(size, int) else size
        if tuple(data.get("base") or (0, 0)) == (0, 0) and isinstance(size, list | tuple) and len(size) == 2:
            h0, w0, _ = lods.split_size(int(size[0]), int(size[1]))
            data = {**data, "base": (h0, w0)}
        return data

    @model_validator(mode="after")
    def _check_base(self) -> ImageShape:
        (h, w), (h0, w0) = self.resolution, self.base
        if h0 < 1 or w0 < 1 or any((h0 << k, w0 << k) == (h, w) for k in range(1, 31)) is False:
            raise ValueError(
                f"resolution {h}x{w} is not base {h0}x{w0} times a power of two (2 or more); "
                f"leave base out to have it chosen"
            )
        return self

    @property
    def top(self) -> int:
        """Level of the full resolution: log2(height / base height). 8 for 1024x1024."""
        return (self.resolution[0] // self.base[0]).bit_length() - 1

    def size(self, level: int) -> tuple[int, int]:
        """(height, width) of a level."""
        return self.base[0] << level, self.base[1] << level

    def fmaps(self, stage: int) -> int:
        """nf(stage) = min(fmap_base / 2^(stage·fmap_decay), fmap_max). The stage of level k is k + 1."""
        return max(1, min(int(self.fmap_base / 2.0 ** (stage * self.fmap_decay)), self.fmap_max))


class GeneratorConfig(ImageShape):
    """Mapping and synthesis network. The defaults are configuration F of Table 1 at 1024x1024."""

    z_dim: int = Field(512, ge=1, description="size of the latent z")
    w_dim: int = Field(512, ge=1, description="size of the intermediate latent w")
    mapping_layers: int = Field(8, ge=0, description="depth of the mapping network (Table 4)")
    mapping_width: int = Field(512, ge=1, description="width of its hidden layers")
    mapping_lrmul: float = Field(0.01, gt=0, description="its learning rate relative to the rest")
    mapping_nonlinearity: Nonlinearity = Field("lrelu", description="its activation")
    label_input: Literal["embed", "concat"] = Field(
        "embed", description="labels enter through a learned embedding (StyleGAN) or as they are (ProGAN)"
    )
    normalize_z: bool = Field(True, description="pixel norm of the mapping network's input")
    constant_input: bool = Field(True, description="learned constant (D-F) or a dense layer from w (A-C)")
    styles: bool = Field(True, description="style modulation, AdaIN (C-F)")
    noise: bool = Field(True, description="noise inputs (E, F)")
    pixel_norm: bool = Field(False, description="pixel norm after every layer (A, B)")
    instance_norm: bool = Field(True, description="instance norm before the style (C-F)")
    norm_eps: float = Field(
        1e-8, gt=0, description="epsilon of these two norms (1e-5 in models imported from PyTorch programs)"
    )
    bias_before_blur: bool = Field(
        False, description="an up-convolution's bias is added before its blur (models imported from rosinality's)"
    )
    shared_noise: bool = Field(
        False, description="both layers of a level take the noise of the first (models imported from rosinality's)"
    )
    w_avg_beta: float = Field(0.995, ge=0, le=1, description="decay of the running mean of w; 1 = frozen")
    truncation_psi: float | None = Field(0.7, description="psi used when none is given; null = none")
    truncation_cutoff: int | None = Field(8, description="layers truncated by default; null = none")

    @property
    def num_layers(self) -> int:
        """L, the number of style layers: two per level."""
        return 2 * (self.top + 1)

    @model_validator(mode="after")
    def _mapping_width_matches(self) -> GeneratorConfig:
        if self.mapping_layers == 0 and self.w_dim != self.mapping_inputs:
            raise ValueError(
                f"generator.w_dim {self.w_dim}: without mapping layers w is the network's input, so w_dim "
                f"must be {self.mapping_inputs}"
            )
        return self

    @property
    def mapping_inputs(self) -> int:
        """Width of the vector that enters the mapping network: z, then the (embedded) label."""
        if not self.labels:
            return self.z_dim
        return self.z_dim + (self.z_dim if self.label_input == "embed" else self.labels)


class DiscriminatorConfig(ImageShape):
    """Discriminator (Progressive GAN, Table 2, with the blur of StyleGAN's configuration B)."""

    mbstd_group: int = Field(
        4, ge=0, description="samples per minibatch-stddev group; 0 or 1 = no such layer, 65536 = the whole batch"
    )
    mbstd_features: int = Field(1, ge=1, description="feature maps it appends")
    from_rgb_activation: bool = Field(
        True, description="activation after from_rgb (off in models imported from huangzh13's program)"
    )
    widen_first: bool = Field(
        False, description="a block's first convolution widens, not its second (models imported from rosinality's)"
    )


class DataConfig(Section):
    """Where the images come from and how they are shown."""

    path: str = Field("", description="prepared data set, or a folder or zip of images")
    mirror: bool = Field(False, description="flip half of the images left-right (never for text or digits)")
    use_labels: bool = Field(False, description="train class-conditionally with the data set's labels")
    holdout: int = Field(
        0, ge=0, description="images never trained on, by which D's overfitting is measured; 0 = train on all"
    )
    fingerprint: str = Field("", description="identity of the prepared data; filled in by training")


class ScheduleConfig(Section):
    """What happens when, as a function of the number of images shown (appendix C; ProGAN appendix A)."""

    total_kimg: float = Field(25000, gt=0, description="length of the training in thousands of real images")
    grow: bool = Field(True, description="progressive growing; false = full resolution from the start")
    initial_resolution: int = Field(8, ge=4, description="first level trained, by its nominal side")
    stable_kimg: float = Field(600, ge=0, description="thousands of images at each level, fully faded in")
    fade_kimg: float = Field(600, ge=0, description="thousands of images to fade in the next level")
    batch: int = Field(32, ge=1, description="global batch, where batch_by_resolution has no entry")
    batch_by_resolution: dict[int, int] = Field(
        {4: 512, 8: 256, 16: 128, 32: 64, 64: 32}, description="global batch by nominal side"
    )
    lr: float = Field(0.001, ge=0, description="Adam's learning rate, where lr_by_resolution has no entry")
    lr_by_resolution: dict[int, float] = Field(
        {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}, description="learning rate by nominal side"
    )
    d_lr_scale: float = Field(1.0, ge=0, description="the discriminator's learning rate relative to lr")
    lr_rampup_kimg: float = Field(0.0, ge=0, description="learning rate rises linearly over this many kimg")
    repeats: int = Field(4, ge=1, description="minibatches between two looks at the schedule")
    tick_kimg: float = Field(160, gt=0, description="kimg between reports, where the table has no entry")
    tick_kimg_by_resolution: dict[int, float] = Field(
        {4: 160, 8: 140, 16: 120, 32: 100, 64: 80, 128: 60, 256: 40, 512: 30, 1024: 20},
        description="kimg between reports, by nominal side",
    )

    @field_validator("batch_by_resolution")
    @classmethod
    def _positive(cls, value: dict[int, int]) -> dict[int, int]:
        for side, batch in value.items():
            if batch < 1:
                raise ValueError(f"batch {batch} at {side}: must be 1 or more")
        return value


class LossConfig(Section):
    """Which game is played. R1 and WGAN-GP are measured per sample in units of the full-size image."""

    kind: Literal["logistic", "wgan-gp", "hinge", "relativistic"] = Field(
        "logistic", description="non-saturating logistic (FFHQ), WGAN-GP, hinge, or relativistic pairing"
    )
    r1_gamma: float = Field(10.0, ge=0, description="weight of the gradient penalty on reals (R1)")
    r2_gamma: float = Field(0.0, ge=0, description="weight of the gradient penalty on fakes (R2)")
    penalty_interval: int = Field(1, ge=1, description="penalties every k-th D step, k times as strong")
    wgan_lambda: float = Field(10.0, ge=0, description="weight of the WGAN gradient penalty")
    wgan_target: float = Field(1.0, gt=0, description="gradient norm it aims at")
    wgan_drift: float = Field(0.001, ge=0, description="weight of the squared real score (WGAN-GP only)")
    mixing: float = Field(0.9, ge=0, le=1, description="probability of style mixing per batch (Table 2)")


class AugmentConfig(Section):
    """Discriminator augmentation, for small data sets (ADA, DiffAugment); see `stylegan.training.augment`."""

    policy: tuple[Transformation, ...] = Field(
        (),
        description="transformations of what D is shown, as translate,cutout,brightness; diffaugment or bgc (ADA's) "
        "for a whole set; none = no augmentation",
    )
    p: float = Field(0.0, ge=0, le=1, description="probability of each; where it adapts, what it starts from")
    target: float | None = Field(
        0.6, ge=-1, le=1, description="p follows mean sign(D(real)) towards this (ADA); null = p stays"
    )
    full_kimg: float = Field(500.0, gt=0, description="kimg in which p can move from 0 to 1")

    @field_validator("policy", mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        names = (value,) if isinstance(value, str) else () if value is None else value
        return tuple(inner for name in names for inner in POLICIES.get(str(name), (name,)))

    @field_validator("policy")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(f"augment.policy: {', '.join(twice)} twice; name each transformation once")
        return value


class TrainingConfig(Section):
    """How the steps are carried out and what is kept."""

    seed: int = Field(0, ge=0, description="seed of weights, sampler, latents and noise")
    precision: Precision = Field("fp32", description="fp32, tf32, or bf16 convolutions (weights stay fp32)")
    graphs: Literal["auto", "on", "off"] = Field(
        "auto", description="replay half steps as CUDA graphs; auto = on NVIDIA GPUs"
    )
    micro_batch: int = Field(
        0, ge=0, description="most samples per process and pass, the rest by accumulation; 0 = no limit"
    )
    ema_kimg: float = Field(10.0, ge=0, description="half-life of the averaged generator in kimg")
    start_from: str = Field("", description="model file or run folder whose weights this training starts from")
    freeze_d: int = Field(0, ge=0, description="keep so many of D's first blocks that came along as they are (FreezeD)")
    adam_betas: tuple[float, float] = Field((0.0, 0.99), description="Adam's decay rates")
    adam_eps: float = Field(1e-8, gt=0, description="Adam's epsilon")
    metrics: str = Field("", description="metrics measured during training, as fid2k,kid2k; none = no measurement")
    metrics_every_kimg: float = Field(200.0, gt=0, description="kimg between two measurements")
    metrics_features: str = Field("", description="feature network for all of them; none = each metric's own")
    grid: tuple[int, int] = Field((0, 0), description="rows and columns of the preview; 0,0 = by resolution")
    snapshot_ticks: int = Field(10, ge=1, description="write a model file every so many ticks")
    checkpoint_ticks: int = Field(1, ge=1, description="write a resumable checkpoint every so many ticks")
    keep_checkpoints: int = Field(2, ge=1, description="how many of the last checkpoints to keep")
    keep_every_kimg: float = Field(0.0, ge=0, description="keep one checkpoint in so many kimg for good; 0 = none")
    health: bool = Field(True, description="measure the training's health at every tick, and say what is wrong")
    hang_seconds: float = Field(
        300.0, ge=0, description="end a training of several processes when one does not answer for so long; 0 = never"
    )

    @field_validator("graphs", mode="before")
    @classmethod
    def _on_or_off(cls, value: Any) -> Any:
        return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class Config(Section):
    """One training, complete."""

    preset: str = Field("ffhq1024", description="name of the preset this started from")
    data: DataConfig = DataConfig()
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _networks_agree(self) -> Config:
        g, d = self.generator, self.discriminator
        for name in ("resolution", "base", "channels"):
            if getattr(g, name) != getattr(d, name):
                raise ValueError(
                    f"generator.{name} {getattr(g, name)} and discriminator.{name} {getattr(d, name)} differ; "
                    f"both networks must have the same"
                )
        if d.labels not in (0, g.labels):
            raise ValueError(f"discriminator.labels {d.labels}: must be 0 or generator.labels, {g.labels}")
        if self.schedule.grow and self.schedule.initial_resolution > lods.nominal(g.top):
            raise ValueError(
                f"schedule.initial_resolution {self.schedule.initial_resolution}: the networks end at "
                f"{lods.nominal(g.top)}; start at or below that"
            )
        if self.augment.policy and self.augment.target is not None and self.loss.kind in ("relativistic", "wgan-gp"):
            raise ValueError(
                f"augment.target {self.augment.target:g}: p follows the signs of D's scores, which mean nothing with "
                f"loss.kind {self.loss.kind}, where only differences count; set augment.target null and augment.p"
            )
        first = self.schedule.initial_resolution
        if first & (first - 1):
            raise ValueError(f"schedule.initial_resolution {first}: must be a power of two (4, 8, 16, ...)")
        return self
