"""The training loop, read top to bottom: schedule, data, step, report, checkpoint."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from stylegan import __version__, distributed
from stylegan import images as imaging
from stylegan.config import Config
from stylegan.data.dataset import Dataset
from stylegan.data.loader import Loader, Request
from stylegan.data.sampler import epoch_indices
from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.snapshot import save_snapshot
from stylegan.training import checkpoint, preview, schedule
from stylegan.training.checkpoint import Progress
from stylegan.training.draws import seed_of
from stylegan.training.eta import Eta, human_time
from stylegan.training.report import Report, averages, memory_gb
from stylegan.training.run import RunFolder
from stylegan.training.step import MicroBatch, Trainer, split_batch


@dataclass(frozen=True)
class Result:
    """How a session ended. `stopped` names the signal or limit that ended it early, '' when finished."""

    run: Path
    kimg: float
    finished: bool
    stopped: str = ""


def train(
    config: Config,
    run_dir: str | Path,
    device: str = "auto",
    dataset: Dataset | None = None,  # None = open (or prepare) config.data.path
    stop_kimg: float | None = None,  # end this session, resumably, once so many kimg are reached
    extend: bool = False,  # allow a longer total_kimg than the run began with
    quiet: bool = False,
) -> Result:
    """Trains, or goes on training, the run in `run_dir`; returns when it is finished or was asked to stop.

    Calling it again with the same configuration resumes exactly. SIGINT and SIGTERM end the session after the
    current iteration with a checkpoint. UserError for bad input; see `stylegan.training.run` for what may change.
    """
    processes = distributed.start(device)
    try:
        if dataset is None:
            dataset = _open_data(config, processes)
        config = _with_fingerprint(config, dataset)
        folder = None
        problem = ""
        if processes.first:
            try:
                folder = RunFolder(run_dir)
                folder.adopt(config, extend)
            except UserError as error:
                problem = str(error)
        problem = processes.share(problem)
        if problem:
            raise UserError(problem)
        try:
            return _Session(config, Path(run_dir), dataset, processes, stop_kimg, quiet).run()
        finally:
            if folder is not None:
                folder.release()
    finally:
        processes.close()


def _open_data(config: Config, processes: Processes) -> Dataset:
    from stylegan.data.cache import open_or_prepare

    if processes.first:
        dataset = open_or_prepare(config.data.path)
        processes.barrier()
        return dataset
    processes.barrier()
    return open_or_prepare(config.data.path)


def _with_fingerprint(config: Config, dataset: Dataset) -> Config:
    """The configuration with the data's identity, after checking that the networks fit the data."""
    g = config.generator
    if tuple(g.resolution) not in [tuple(size) for size in dataset.levels]:
        sizes = ", ".join(f"{w}x{h}" for h, w in dataset.levels)
        raise UserError(
            f"generator.resolution {g.resolution[1]}x{g.resolution[0]}: the data set has the sizes {sizes}; "
            f"choose one of them, or prepare it again"
        )
    if g.channels != dataset.channels:
        raise UserError(f"generator.channels {g.channels}: the data set has {dataset.channels} channels")
    if g.labels not in (0, dataset.num_classes):
        raise UserError(f"generator.labels {g.labels}: the data set has {dataset.num_classes or 'no'} classes")
    return config.model_copy(update={"data": config.data.model_copy(update={"fingerprint": dataset.fingerprint})})


class _Session:
    """One session of a run, from start or checkpoint to the end, a limit, or a signal."""

    def __init__(
        self, config: Config, run: Path, dataset: Dataset, processes: Processes, stop_kimg: float | None, quiet: bool
    ) -> None:
        self.config, self.path, self.dataset, self.processes = config, run, dataset, processes
        self.stop_nimg = float("inf") if stop_kimg is None else stop_kimg * 1000
        self.trainer = Trainer(config, processes)
        self.progress = Progress()
        loaded, complaints = checkpoint.latest(run / "checkpoints")
        if loaded is not None:
            checkpoint.restore(self.trainer, loaded.tensors, loaded.counters)
            self.progress = loaded.progress
        total = config.schedule.total_kimg * 1000
        if self.progress.finished and self.progress.nimg < total:
            self.progress.finished = False  # the schedule was extended
        self.eta = Eta(config)
        self.signal = ""
        self.preview = preview.Preview(config, processes.device)
        self.report = Report(
            run, processes.first, int(total), self.progress.log_bytes, self.progress.nimg, quiet
        )
        for complaint in complaints:
            self.report.say(f"warning: {complaint}")
        self._mark = (self.progress.nimg, time.monotonic())  # where and when the rate was last measured

    def run(self) -> Result:
        """The loop itself."""
        config, progress, trainer = self.config, self.progress, self.trainer
        if progress.finished:
            self.report.say(f"{self.path}: finished at {progress.nimg / 1000:.1f} kimg; nothing left to do")
            self.report.close()
            return Result(self.path, progress.nimg / 1000, True)
        self._greet()
        restore_handlers = self._catch_signals()
        stopped = ""
        try:
            with Loader(self.dataset, self._requests(progress.nimg)) as loader:
                for point in schedule.iterations(config.schedule, config.generator.top, progress.nimg):
                    if schedule.resets_optimizer(progress.lod, point.lod):
                        trainer.reset_optimizers()
                    progress.lod = point.lod
                    rows = split_batch(config, self.processes, point.batch)
                    for _ in range(config.schedule.repeats):
                        trainer.step(point, progress.nimg, self._micro_batches(next(loader), rows, point))
                        progress.nimg += point.batch
                    self._check_finite()
                    stopped = self._after(point)
                    if stopped:
                        break
            if not stopped:
                self._finish()
        finally:
            restore_handlers()
            self.report.close()
        return Result(self.path, progress.nimg / 1000, not stopped, stopped)

    # --- data ---------------------------------------------------------------------------------------------

    def _requests(self, start: int) -> Iterator[Request]:
        """What this process has to read, minibatch by minibatch."""
        config = self.config
        for point in schedule.iterations(config.schedule, config.generator.top, start):
            rows = torch.cat(split_batch(config, self.processes, point.batch)).numpy()
            size = config.generator.size(point.level)
            for i in range(config.schedule.repeats):
                position = point.nimg + i * point.batch
                shown = epoch_indices(config.training.seed, position, point.batch, len(self.dataset))
                yield Request(shown[rows], size)

    def _micro_batches(
        self, batch: tuple[np.ndarray, np.ndarray], rows: list[torch.Tensor], point: schedule.Point
    ) -> list[MicroBatch]:
        device, config = self.processes.device, self.config
        images, labels = torch.from_numpy(batch[0]), torch.from_numpy(batch[1])
        generator = torch.Generator().manual_seed(seed_of(config.training.seed, "labels", self.progress.nimg))
        drawn = torch.randint(len(self.dataset), (point.batch,), generator=generator)
        if not config.generator.labels:
            labels = labels[:, :0]
        result, start = [], 0
        for part in rows:
            chosen = self.dataset.labels(drawn[part].numpy()) if config.generator.labels else np.zeros((len(part), 0))
            piece = slice(start, start + len(part))
            result.append(
                MicroBatch(part, images[piece], labels[piece].to(device), torch.from_numpy(chosen).float().to(device))
            )
            start += len(part)
        return result

    # --- reports and checkpoints --------------------------------------------------------------------------

    def _greet(self) -> None:
        config, progress, report = self.config, self.progress, self.report
        h, w = config.generator.resolution
        count = f"{len(self.dataset):,} images"
        classes = f", {config.generator.labels} classes" if config.generator.labels else ""
        device = str(self.processes.device)
        if self.processes.device.type == "cuda":
            device = torch.cuda.get_device_name(self.processes.device)
        report.say(
            f"{'going on with' if progress.nimg else 'training'} {self.path}: {w}x{h}, {count}{classes}, "
            f"{config.schedule.total_kimg:g} kimg, {config.training.precision} on {self.processes.world} x {device}"
        )
        if progress.nimg:
            report.say(f"resumed at {progress.nimg / 1000:.1f} kimg")
        elif self.processes.first:
            reals = preview.draw_reals(config, self.dataset)
            imaging.write_png(self.path / "reals.png", reals)
            report.image("reals", reals)
            start = schedule.at(config.schedule, config.generator.top, 0)
            grid = self.preview.draw(self.trainer.G_ema, start.lod)
            imaging.write_png(preview.grid_path(self.path, 0), grid)

    def _after(self, point: schedule.Point) -> str:
        """Progress bar, tick, checkpoint, and whether this session ends here (why, or '')."""
        progress, config = self.progress, self.config
        done = progress.nimg >= config.schedule.total_kimg * 1000
        now = time.monotonic()
        images, seconds = progress.nimg - self._mark[0], now - self._mark[1]
        tick = done or progress.nimg >= progress.tick_start + point.tick_kimg * 1000
        h, w = config.generator.size(point.level)
        where = schedule.describe(point, w, h)
        if seconds > 0.5 or tick:
            if self.processes.device.type == "cuda" and tick:
                torch.cuda.synchronize(self.processes.device)
                seconds = time.monotonic() - self._mark[1]
            self.eta.record(point.level, seconds / images)
            progress.seconds += seconds
            self._mark = (progress.nimg, time.monotonic())
        rate = self.eta.measured.get(point.level)
        if rate:
            left = human_time(self.eta.remaining(progress.nimg))
            self.report.live(
                progress.nimg, f"{progress.nimg / 1000:.1f} kimg, {where}, {1 / rate:.0f} img/s, {left} left"
            )
        if tick:
            self._tick(point, where)
        reason = ""
        if not done and progress.nimg >= self.stop_nimg:
            reason = f"stopped at {progress.nimg / 1000:.1f} kimg, as asked"
        if self.processes.any(bool(self.signal)):
            reason = self.signal or "stopped by another process's signal"
        if reason and not done:
            self._checkpoint()
            self.report.say(f"{reason}; saved. Run the same command again to go on.")
            return reason
        return ""

    def _tick(self, point: schedule.Point, where: str) -> None:
        config, progress = self.config, self.progress
        progress.tick += 1
        rate = self.eta.measured[point.level]
        left = self.eta.remaining(progress.nimg)
        means = averages(self.trainer.statistics, config.loss.penalty_interval)
        for name, value in means.items():
            if not np.isfinite(value):
                self._diverged(name, value)
        memory = memory_gb(self.processes.device)
        entry: dict[str, Any] = {
            "tick": progress.tick,
            "nimg": progress.nimg,
            "kimg": progress.nimg / 1000,
            "loss": means,
            "schedule": {"lod": point.lod, "resolution": point.resolution, "batch": point.batch, "lr": point.g_lr,
                         "phase": point.phase},
            "time": {"seconds": round(progress.seconds, 3), "images_per_second": 1 / rate, "memory_gb": memory,
                     "seconds_left": left},
        }  # fmt: skip
        if self.processes.first:
            grid = self.preview.draw(self.trainer.G_ema, point.lod)
            imaging.write_png(preview.grid_path(self.path, progress.nimg), grid)
            self.report.tick(entry, grid)
            self._model_files(point)
        self.report.say(
            f"{progress.nimg / 1000:8.1f} kimg  {where}  {1 / rate:.0f} img/s  {1000 * rate:.2f} s/kimg  "
            f"{memory:.1f} GB  G {means['loss_g']:.3f}  D {means['loss_d']:.3f}  penalty {means['penalty']:.3f}  "
            f"sign(D(real)) {means['sign_real']:+.2f}  {human_time(left)} left"
        )
        self.trainer.statistics.zero_()
        progress.tick_start = progress.nimg
        if progress.tick % config.training.checkpoint_ticks == 0:
            self._checkpoint()
        self._mark = (progress.nimg, time.monotonic())  # the report itself is not training

    def _model_files(self, point: schedule.Point) -> None:
        """model.safetensors at every report, and numbered snapshots now and then."""
        progress = self.progress
        self.trainer.G_ema.lod = point.lod
        facts = self._facts()
        config = self.config.model_dump(mode="json")
        save_snapshot(self.path / "model.safetensors", self.trainer.G_ema, config=config, training=facts)
        if progress.tick % self.config.training.snapshot_ticks == 0:
            name = f"network-{progress.nimg // 1000:06d}kimg.safetensors"
            save_snapshot(self.path / "snapshots" / name, self.trainer.G_ema, config=config, training=facts)

    def _facts(self) -> dict[str, Any]:
        """What a model file says about its training."""
        data = self.dataset
        return {
            "kimg": self.progress.nimg / 1000,
            "lod": self.trainer.G_ema.lod,
            "seconds": round(self.progress.seconds, 1),
            "data": {
                "fingerprint": data.fingerprint, "images": len(data), "attribution": data.attribution,
                "class_names": data.class_names,
            },
            "class_names": data.class_names if self.config.generator.labels else None,
            "attribution": data.attribution,
            "revision": _git_revision(),
            "library": __version__,
        }  # fmt: skip

    def _checkpoint(self) -> None:
        if self.processes.first:
            self.progress.log_bytes = self.report.log_bytes
            checkpoint.write(
                self.path / "checkpoints", self.trainer, self.progress, self.config.training.keep_checkpoints
            )
        self.processes.barrier()

    def _finish(self) -> None:
        self.progress.finished = True
        self._checkpoint()
        if self.processes.first:
            clip = preview.write_timelapse(self.path)
            self.report.say(
                f"finished: {self.progress.nimg / 1000:.1f} kimg in {human_time(self.progress.seconds)}. "
                f"Model: {self.path / 'model.safetensors'}" + (f"  Time-lapse: {clip}" if clip else "")
            )

    # --- faults and signals -------------------------------------------------------------------------------

    def _check_finite(self) -> None:
        """Cheap on a CPU; on a GPU it would wait for the step, so there the tick looks."""
        if self.processes.device.type == "cpu" and not bool(torch.isfinite(self.trainer.statistics).all()):
            for name, value in averages(self.trainer.statistics, 1).items():
                if not np.isfinite(value):
                    self._diverged(name, value)

    def _diverged(self, name: str, value: float) -> None:
        raise UserError(
            f"{name} became {value} at {self.progress.nimg / 1000:.1f} kimg: the training has diverged. The last "
            f"checkpoint in {self.path / 'checkpoints'} is sound; start a new run with a lower schedule.lr, a higher "
            f"loss.r1_gamma, or precision fp32"
        )

    def _catch_signals(self) -> Any:
        """SIGINT and SIGTERM set a flag that the loop honours; returns what puts the old handlers back."""

        def handler(number: int, frame: FrameType | None) -> None:
            if self.signal:  # the second time means now
                raise KeyboardInterrupt
            self.signal = signal.Signals(number).name

        try:
            old = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: whoever runs us keeps its handlers
            return lambda: None
        return lambda: [signal.signal(s, previous) for s, previous in old.items()]


def _git_revision() -> str:
    """The revision of the working directory's project, '' where there is none."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


