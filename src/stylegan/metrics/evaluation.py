"""A model, a data set and names of metrics -> numbers with everything that is needed to trust and repeat them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from stylegan.data import Dataset
from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.metrics import classifier as classifiers
from stylegan.metrics.cached import default_folder, key_path
from stylegan.metrics.classifier import ClassifierNetwork, Recipe
from stylegan.metrics.exchange import Stopwatch
from stylegan.metrics.features import FeatureNetwork, describe, open_features
from stylegan.metrics.latent_space import classified_latents, path_distances
from stylegan.metrics.passes import (
    FakeFeatures,
    Measured,
    Progress,
    RealFeatures,
    Request,
    measure_fakes,
    measure_reals,
)
from stylegan.metrics.path_length import EPSILON
from stylegan.metrics.protocols import METRICS, Protocol
from stylegan.metrics.results import score, score_neighbours, score_path, score_recognition, score_separability
from stylegan.metrics.sampling import Fakes, Reals, check_fit, default_batch
from stylegan.networks import Generator

NETWORK_TIME = ("generator", "feature network")


@dataclass
class Options:
    """How to measure. The defaults are the metrics' own definitions."""

    features: str | None = None  # one feature network for all metrics, by name or file; None = each metric's own
    resize: str | None = None  # resize filter instead of the networks' own
    weights: Mapping[str, Path] = field(default_factory=dict)  # public weights by name
    trust_torchscript: bool = False
    psi: float | None = None  # None = no truncation
    seed: int = 0
    batch: int | None = None  # images per pass; None = by device and size
    mirror: bool = False  # the data set as a training with mirroring has seen it
    lod: float | None = None  # None = the generator's
    face_crop: bool = False  # ppl on the middle of the image, as in the paper for faces
    classifier: Path | None = None  # for recognition; None = `features`
    attributes: Path | None = None  # for ls; None = the data set's classes
    recipe: Recipe = field(default_factory=Recipe)  # of the classifiers for ls
    cache: Path | None = field(default_factory=default_folder)  # None = nothing is kept

    def check(self, generator: Generator) -> None:
        """UserError for settings that do not fit."""
        if self.batch is not None and self.batch < 1:
            raise UserError(f"--batch {self.batch}: must be 1 or more")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"--seed {self.seed}: must be 0 or more")
        if self.psi is not None and not generator.truncatable:
            raise UserError("--psi: this is a traditional generator (configuration A or B), which has no truncation")


@dataclass
class Evaluation:
    """metrics: by name, as in the JSON. neighbours: (protocol, distances, data-set indices) of nn, else None.

    seconds: by purpose, with the total; from the first image to the last formula, networks already opened.
    """

    metrics: dict[str, dict[str, Any]]
    seconds: dict[str, float]
    batch: int
    neighbours: tuple[Protocol, np.ndarray, np.ndarray] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def share_outside_networks(self) -> float:
        """Of the time of all, the share that was not spent in forward passes (classifier training aside)."""
        split = self.split
        return split["elsewhere"] / max(sum(split.values()), 1e-9)

    @property
    def split(self) -> dict[str, float]:
        """Seconds in the generator, in feature networks, and elsewhere (classifier training aside)."""
        total = self.seconds["total"] - self.seconds.get("classifier training", 0.0)
        found = {name: self.seconds.get(name, 0.0) for name in NETWORK_TIME}
        return {**found, "elsewhere": max(total - sum(found.values()), 0.0)}


class Networks:
    """The feature networks of an evaluation, each opened once."""

    def __init__(self, generator: Generator, options: Options, device: torch.device) -> None:
        config = generator.config
        self.image = (config.channels, *config.resolution)
        self.options, self.device = options, device
        self._open: dict[str, FeatureNetwork] = {}

    def of(self, protocol: Protocol) -> FeatureNetwork:
        """The network a metric is measured with. UserError where its weights are missing, or it cannot serve."""
        o = self.options
        spec = o.features or METRICS[protocol.kind].network
        if protocol.kind == "recognition":
            spec = str(o.classifier or o.features or "")
            if not spec:
                raise UserError(
                    f"{protocol.name}: needs a network that knows the data's classes; train one with `stylegan "
                    f"classifier DATA --out FILE.safetensors` and give it as --classifier or --features"
                )
        if spec not in self._open:
            resize = o.resize if spec not in ("pixels", "lpips") else None
            self._open[spec] = open_features(spec, self.image, self.device, o.weights, resize, o.trust_torchscript)
        network = self._open[spec]
        if protocol.kind in ("is", "recognition") and not network.has_logits:
            name = network.identity.name
            raise UserError(f"{protocol.name}: needs class probabilities, but {name} gives features only")
        return network


def evaluate(
    generator: Generator,
    dataset: Dataset,
    protocols: Sequence[Protocol],
    options: Options | None = None,
    processes: Processes | None = None,
    progress: Progress | None = None,
    networks: Networks | None = None,
) -> Evaluation | None:
    """Measures the metrics; every process of a group calls it with the same arguments, the first gets the result.

    The generator is used as it is (its device, its precision), and no global random state is touched. UserError
    for what does not fit or is missing, before anything is computed.
    """
    options, processes = options or Options(), processes or Processes(device=generator.w_avg.device)
    options.check(generator)
    size = check_fit(generator, dataset)
    networks = networks or Networks(generator, options, generator.w_avg.device)
    compared = [p for p in protocols if p.uses_features]
    separable = [p for p in protocols if p.kind == "ls"]
    used = {p.name: networks.of(p) for p in protocols if p.kind != "ls"}
    for p in protocols:
        if p.kind == "recognition":
            class_names(p, generator, dataset, used[p.name])
    classes = dataset.classes if dataset.num_classes and generator.config.labels else None
    fakes = Fakes(generator, options.seed, options.psi, options.lod, classes)
    watch = Stopwatch(generator.w_avg.device)
    batch = processes.share(options.batch or default_batch(generator))
    how = Measured(processes, batch, watch, progress)
    for p in protocols:
        replace(fakes, mixing=p.mixing).check_mixing()
    found: dict[str, dict[str, Any]] = {}
    result = Evaluation(found, {}, batch)
    if separable:
        classifier = _classifier(generator, dataset, options, how)
    if compared:
        _compare(compared, used, fakes, Reals(dataset, size, None, options.mirror), options, how, result)
    for protocol in protocols:
        if protocol.kind == "ppl":
            distances = path_distances(protocol, fakes, used[protocol.name], how, options.face_crop)
            if distances is not None:
                found[protocol.name] = score_path(protocol, distances, EPSILON, batch)
    for samples in sorted({p.samples for p in separable}):
        group = [p for p in separable if p.samples == samples]
        spaces = sorted({p.space for p in group})
        classified = classified_latents(samples, fakes, classifier, how, spaces)
        if classified is not None:
            for protocol in group:
                with watch.work("formulas"):
                    latents = classified[0][protocol.space]
                    found[protocol.name] = score_separability(
                        protocol, latents, classified[1], classifier.names, classifier.accuracies
                    )
                found[protocol.name]["network"] = describe(classifier)
    if not processes.first:
        return None
    for name, network in used.items():
        found[name]["network"] = {**describe(network), **network.facts}
    result.metrics = {p.name: found[p.name] for p in protocols}
    result.seconds = watch.seconds()
    result.notes = _notes(generator, dataset, options, protocols) + _one_sided(result.metrics)
    return result


def class_names(protocol: Protocol, generator: Generator, dataset: Dataset, network: FeatureNetwork) -> list[str]:
    """The classes of a recognition. UserError where model, data and classifier do not have the same ones."""
    count = generator.config.labels
    if not count:
        raise UserError(f"{protocol.name}: the model has no classes, so none can be asked for")
    names = dataset.class_names or [str(i) for i in range(count)]
    theirs = network.class_names
    if theirs is None:
        probe = torch.zeros(1, generator.config.channels, *generator.config.resolution, device=network.device)
        logits = network(probe)[1]
        theirs = names if logits is not None and logits.shape[1] == count else None
    if len(names) != count or theirs is None or (dataset.class_names and theirs != names):
        raise UserError(
            f"{protocol.name}: the classifier {network.identity.name} does not answer with the data's {len(names)} "
            f"classes ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''}); train one with `stylegan classifier`"
        )
    return names


def _one_sided(metrics: Mapping[str, dict[str, Any]]) -> list[str]:
    """What a separability says nothing about: attributes that all samples left have, or none."""
    notes = []
    for name, entry in metrics.items():
        alone = [a for a, found in entry.get("attributes", {}).items() if found["share_kept"] in (0.0, 1.0)]
        if alone:
            notes.append(
                f"{name}: of {', '.join(alone)} the most confident half has only one value, which counts as 0 bits; "
                f"attributes that about half of the images have say more (--attributes)"
            )
    return notes


def _compare(
    protocols: Sequence[Protocol], used: Mapping[str, FeatureNetwork], fakes: Fakes, reals: Reals, options: Options,
    how: Measured, result: Evaluation,
) -> None:  # fmt: skip
    """Everything that compares features: one pass over generated images, and the data set's from the cache."""
    real: dict[tuple[int, int | None], RealFeatures] = {}
    keeps = {(id(used[p.name]), p.reals) for p in protocols if p.compares and p.keeps_features}
    for p in protocols:
        key = (id(used[p.name]), p.reals)
        if p.compares and key not in real:
            wanted = replace(reals, count=p.reals)
            real[key] = measure_reals(used[p.name], wanted, key in keeps, how, options.cache)
    got: dict[tuple[int, int, bool], FakeFeatures] = {}
    for mixing, balanced in sorted({(p.mixing, p.balanced) for p in protocols}):
        by_network: dict[tuple[int, int, bool], list[Protocol]] = {}
        for p in protocols:
            if (p.mixing, p.balanced) == (mixing, balanced):
                by_network.setdefault((id(used[p.name]), mixing, balanced), []).append(p)
        requests = [
            Request(
                used[group[0].name],
                tuple(sorted({p.samples for p in group if p.kind in ("fid", "fdd")})),
                max((p.samples for p in group if p.keeps_features), default=0),
                max((p.samples for p in group if p.kind in ("is", "recognition")), default=0),
            )
            for group in by_network.values()
        ]
        drawn = replace(fakes, mixing=mixing, balanced=balanced)
        got |= dict(zip(by_network, measure_fakes(drawn, requests, how), strict=True))
    if not how.processes.first:
        return
    for p in protocols:
        number = id(used[p.name])
        drawn_ones = got[number, p.mixing, p.balanced]
        with how.watch.work("formulas"):
            if p.kind == "nn":
                features = real[number, p.reals]
                found, distances, rows = score_neighbours(p, features, drawn_ones, fakes.device)
                indices = replace(reals, count=p.reals).indices
                result.neighbours = (p, distances, indices[rows])
            elif p.kind == "recognition":
                assert drawn_ones.probabilities is not None
                names = class_names(p, fakes.generator, reals.dataset, used[p.name])
                found = score_recognition(p, drawn_ones.probabilities, names, how.batch)
            else:
                found = score(p, real.get((number, p.reals)), drawn_ones, how.batch, fakes.device)
        if p.mixing > 1:
            found["latents"] = p.mixing
        result.metrics[p.name] = found


def _classifier(generator: Generator, dataset: Dataset, options: Options, how: Measured) -> ClassifierNetwork:
    """The attribute classifier, as wide as the model, from the cache or trained now by the first process."""
    if options.attributes is not None:
        targets, names = classifiers.read_attributes(options.attributes, len(dataset))
    else:
        targets, names = classifiers.one_versus_rest(dataset)
    device, config = how.processes.device, generator.config
    recipe = replace(options.recipe, fmap_base=config.fmap_base, fmap_max=config.fmap_max)
    description = {
        "fingerprint": dataset.fingerprint,
        "targets": hashlib.sha256(np.ascontiguousarray(targets).tobytes()).hexdigest(),
        "names": names,
        "recipe": recipe.__dict__,
    }
    folder = options.cache
    if folder is None:
        if how.processes.world > 1:
            raise UserError("linear separability with several processes needs a cache folder for its classifier")
        return _train(dataset, targets, names, recipe, device, how)
    path = key_path(folder, "classifier", description)
    if how.processes.share(path.exists()) is False:
        if how.processes.first:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"--cache {folder}: cannot be written ({error.strerror}); choose another") from None
            with FileLock(f"{path}.lock"):  # evaluations that run at the same time train it once
                if not path.exists():
                    made = _train(dataset, targets, names, recipe, device, how)
                    classifiers.save_classifier(path, made.network, names, made.accuracies)
        how.processes.barrier()
    return classifiers.open_classifier(path, device, "classifier")


def _train(
    dataset: Dataset, targets: np.ndarray, names: list[str], recipe: Recipe, device: torch.device, how: Measured
) -> ClassifierNetwork:
    with how.watch.work("classifier training"):
        network, accuracies = classifiers.train_classifier(
            dataset, targets, recipe, device, lambda done, total: how.tell("training the classifier", done, total)
        )
    made = ClassifierNetwork(network, names, "", device)
    made.accuracies = accuracies
    return made


def _notes(generator: Generator, dataset: Dataset, options: Options, protocols: Sequence[Protocol]) -> list[str]:
    """Sentences a reader of the numbers should know."""
    notes = []
    if options.psi is not None and options.psi != 1:
        notes.append(f"truncated at psi {options.psi:g}: not comparable with published numbers, which are untruncated")
    if options.features is not None:
        notes.append(f"measured with {options.features} instead of each metric's network: comparable with itself only")
    if generator.config.labels and not dataset.num_classes:
        notes.append("the data set has no classes: the model's classes are drawn equally often")
    small = [p.name for p in protocols if p.compares and p.samples > len(dataset)]
    if small:
        notes.append(f"{', '.join(small)}: the data set has only {len(dataset):,} images")
    lod = generator.lod if options.lod is None else options.lod
    if lod > 0:
        notes.append(f"the model is grown to lod {lod:g}; its images are enlarged to full size")
    return notes
