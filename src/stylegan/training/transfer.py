"""Transfer learning: a new training that starts from the weights of another (`stylegan train --from`).

Weights go by name and shape. Levels are counted from the lowest resolution, so networks of another size share
their lower levels: blocks above are dropped, or start fresh and are grown. Everything is accounted for: each
tensor of both sides is taken, dropped, or starts fresh, and the report says which.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stylegan import lod as lods
from stylegan.config import DiscriminatorConfig, GeneratorConfig
from stylegan.config.presets import Diff
from stylegan.errors import UserError
from stylegan.snapshot import load, write_atomically
from stylegan.training import checkpoint
from stylegan.training.run import stored_config
from stylegan.training.step import Trainer

State = Mapping[str, torch.Tensor]
Names = tuple[list[str], list[str], list[str]]  # taken, dropped, fresh
ORIGIN = "origin.json"  # in a run folder
# what a tensor's name begins with that its part's name tells already
_WHOLE = re.compile(
    r"(mapping\.layers|synthesis\.layers|synthesis\.to_rgb|from_rgb|blocks)\.\d+\.|head\.(dense1\.)?|synthesis\."
)


@dataclass
class Source:
    """Weights to start from. `raw` is the generator the optimizer moved; D is absent in plain model files."""

    path: Path
    sha256: str  # of the file the weights came from
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig | None
    lod: float
    averaged: State
    raw: State
    d: State | None
    lineage: list[Any] = field(default_factory=list)
    trained: dict[str, float] = field(default_factory=dict)  # kimg and seconds of its own training, where it says so

    @property
    def resolution(self) -> int:
        """Nominal side of the highest level these weights have been trained to."""
        return lods.nominal(lods.level_of(self.lod, self.generator.top))

    def architecture(self, classes: int = 0) -> Diff:
        """The networks' settings, less what the new data decides (size, channels, classes)."""
        decided = {"resolution", "base", "channels", "labels"}
        diff: Diff = {"generator": self.generator.model_dump(exclude=decided)}
        if self.generator.mapping_layers == 0:  # then w is the input, whose width follows from z and the labels
            z_dim = self.generator.z_dim
            added = z_dim * bool(classes) if self.generator.label_input == "embed" else classes
            diff["generator"]["w_dim"] = z_dim + added
        shared = {name: value for name, value in diff["generator"].items() if name in DiscriminatorConfig.model_fields}
        own = self.discriminator.model_dump(exclude=decided) if self.discriminator is not None else shared
        diff["discriminator"] = own
        return diff


@dataclass
class Transferred:
    """What became of every part, in words: 'synthesis 8x8' and the like."""

    taken: list[str]
    dropped: list[str]
    fresh: list[str]
    fresh_d: list[str] = field(default_factory=list)  # names of the discriminator's parameters among them

    def sentences(self) -> list[str]:
        """For the terminal and the log."""
        return [
            f"{what}: {', '.join(parts) if parts else 'nothing'}"
            for what, parts in (("taken", self.taken), ("dropped", self.dropped), ("starts fresh", self.fresh))
        ]


def read_source(path: str | Path) -> Source:
    """A model file, or a run folder, whose newest checkpoint also has the discriminator. UserError otherwise."""
    path = Path(path)
    if path.is_dir():
        return _read_run(path)
    snapshot = load(path)
    assert snapshot.path is not None
    g, raw, d = snapshot.generator, snapshot.generator_raw, snapshot.discriminator
    return Source(
        path=path,
        sha256=_sha256(snapshot.path),
        generator=g.config,
        discriminator=None if d is None else d.config,
        lod=g.lod,
        averaged=g.state_dict(),
        raw=(raw or g).state_dict(),
        d=None if d is None else d.state_dict(),
        lineage=list(snapshot.training.get("lineage") or []),
        trained={key: snapshot.training[key] for key in ("kimg", "seconds") if snapshot.training.get(key) is not None},
    )


def _read_run(path: Path) -> Source:
    config = stored_config(path)
    loaded, _ = checkpoint.latest(path / "checkpoints")
    if config is None or loaded is None:
        raise UserError(f"{path}: has no run with a checkpoint; name a run folder of `stylegan train` or a model file")

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): t for name, t in loaded.tensors.items() if name.startswith(prefix)}

    return Source(
        path=path,
        sha256=_sha256(loaded.path / "tensors.safetensors"),
        generator=config.generator,
        discriminator=config.discriminator,
        lod=max(loaded.progress.lod, 0.0),
        averaged=part("G_ema."),
        raw=part("G."),
        d=part("D."),
        lineage=lineage(path),
        trained={"kimg": loaded.progress.nimg / 1000, "seconds": round(loaded.progress.seconds, 1)},
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def start_from(trainer: Trainer, source: Source) -> Transferred:
    """Puts the source's weights into a fresh trainer; UserError where not a single layer fits."""
    g = _fill(trainer.G, source.raw)
    _fill(trainer.G_ema, source.averaged)
    d = _fill(trainer.D, source.d) if source.d is not None else ([], [], list(trainer.D.state_dict()))
    if not any(name.startswith("synthesis.layers") for name in g[0]):
        raise UserError(f"{source.path}: none of its layers fits the new networks; check the settings of both")
    top = max(trainer.config.generator.top, source.generator.top)
    shape = trainer.config.generator if trainer.config.generator.top == top else source.generator
    taken, dropped, fresh = _words(shape, g, d)
    return Transferred(taken, dropped, fresh, d[2])


def begin(trainer: Trainer, run: Path, resumed: bool = False) -> list[str]:
    """Starts a new run from `training.start_from`, if it says so; notes it in RUN/origin.json; what to tell.

    A run that is `resumed` needs its source no more: which parts stay frozen is in the note.
    """
    wanted, blocks = trainer.config.training.start_from, trainer.config.training.freeze_d
    if resumed:
        # runs that were begun before the note had this froze blocks whatever they came from
        note = lineage(run)[-1:] if wanted else []
        trainer.frozen = tuple(note[0].get("frozen") or _first_blocks(trainer, blocks)) if note and blocks else ()
        return []
    if not wanted:
        check_freezing(blocks, None, trainer.config.discriminator.top)
        return []
    source = read_source(wanted)
    check_freezing(blocks, source, trainer.config.discriminator.top)
    told = start_from(trainer, source)
    trainer.frozen = _frozen(trainer, told, source, blocks)
    if trainer.processes.first:
        entry = {"event": "trained on", "from": str(source.path), "sha256": source.sha256, "lod": source.lod}
        entry |= source.trained | {"taken": told.taken, "dropped": told.dropped, "fresh": told.fresh}
        entry |= {"frozen": list(trainer.frozen)} if blocks else {}
        write_atomically(run / ORIGIN, json.dumps([*source.lineage, entry], indent=1).encode())
    sentences = [f"starting from {source.path}, trained to {source.resolution}", *told.sentences()]
    if trainer.frozen:
        parts = [_part("D", name + ".", trainer.config.generator) for name in trainer.frozen]
        fresh = any(name.startswith(("from_rgb.", "blocks.")) for name in told.fresh_d)
        sentences.append(f"frozen: {', '.join(parts)}" + ("; blocks that start fresh are trained" if fresh else ""))
    return sentences


def _first_blocks(trainer: Trainer, blocks: int) -> list[str]:
    """The discriminator's blocks nearest the full image, and every from_rgb."""
    first = [f"blocks.{k}" for k in range(trainer.config.discriminator.top)][::-1][:blocks]
    return [*(f"from_rgb.{k}" for k in range(len(trainer.D.from_rgb))), *first]


def _frozen(trainer: Trainer, told: Transferred, source: Source, blocks: int) -> tuple[str, ...]:
    """FreezeD (Mo et al. 2020, 2002.10964): every from_rgb and the first `blocks` blocks that came from the source.

    Blocks above the source's full image start at random values, so they are trained; the count begins below them.
    """
    if not blocks:
        return ()
    fresh = {".".join(name.split(".")[:2]) for name in told.fresh_d}
    whole = [part for part in _first_blocks(trainer, trainer.config.discriminator.top) if part not in fresh]
    taken = [part for part in whole if part.startswith("blocks.")]
    if blocks > len(taken):
        raise UserError(
            f"--freeze-d {blocks}: {len(taken)} of the discriminator's blocks come from {source.path}, the others "
            f"start fresh, and only the former can stay as they are; give 0 to {len(taken)}"
        )
    return (*(part for part in whole if part.startswith("from_rgb.")), *taken[:blocks])


def check_freezing(blocks: int, source: Source | None, top: int) -> None:
    """UserError where the discriminator's first blocks cannot be kept: there are none, or not so many."""
    if not blocks:
        return
    if source is None:
        raise UserError(f"--freeze-d {blocks}: keeps blocks of another model, so it needs --from MODEL")
    if source.d is None:
        raise UserError(
            f"--freeze-d {blocks}: {source.path} has no discriminator to keep; give a run folder, or a model converted "
            f"with --training"
        )
    if blocks > top:
        raise UserError(f"--freeze-d {blocks}: the discriminator has {top} blocks at this resolution")


def lineage(run: Path) -> list[Any]:
    """Where the weights of a run came from, oldest first; [] for a run that started from nothing."""
    file = run / ORIGIN
    return list(json.loads(file.read_text())) if file.exists() else []


def _fill(network: nn.Module, source: State) -> Names:
    """Copies what fits by name and shape: (taken, dropped, fresh) names."""
    own = network.state_dict()
    taken = [name for name in own if name in source and source[name].shape == own[name].shape]
    fresh = [name for name in own if name not in taken]
    dropped = [name for name in source if name not in taken]
    network.load_state_dict({**own, **{name: source[name] for name in taken}})
    return taken, dropped, fresh


def _words(shape: GeneratorConfig, g: Names, d: Names) -> list[list[str]]:
    """Names of parameters, thrice -> parts of the networks, each once and in order. A part whose tensors went
    different ways is told with the tensor's name: 'mapping layer 0 (bias)'."""
    named = [
        [(name, _part(net, name, shape)) for net, names in (("G", g[i]), ("D", d[i])) for name in names]
        for i in range(3)
    ]
    taken, rest = ({part for k in which for _, part in named[k]} for which in ((0,), (1, 2)))

    def word(name: str, part: str) -> str:
        return f"{part} ({_WHOLE.sub('', name)})" if part in taken & rest and "." in name else part

    return [list(dict.fromkeys(word(name, part) for name, part in names)) for names in named]


def _part(network: str, name: str, shape: GeneratorConfig) -> str:
    pieces = name.split(".")

    def size(level: int) -> str:
        h, w = shape.size(level)
        return f"{w}x{h}"

    if network == "G":
        if pieces[0] == "mapping":
            return "label embedding" if pieces[1] == "label_embedding" else f"mapping layer {pieces[2]}"
        if pieces[0] == "w_avg":
            return "mean of w"
        if pieces[1] == "layers":
            return f"synthesis {size(int(pieces[2]) // 2)}"
        if pieces[1] == "to_rgb":
            return f"to_rgb {size(int(pieces[2]))}"
        return "input" if pieces[1] == "input" else f"stored noise {size(int(pieces[1].removeprefix('noise')) // 2)}"
    if pieces[0] == "from_rgb":
        return f"from_rgb {size(int(pieces[1]))}"
    if pieces[0] == "blocks":
        return f"discriminator {size(int(pieces[1]) + 1)}"
    return "discriminator output" if pieces[1] == "dense1" else "discriminator head"
