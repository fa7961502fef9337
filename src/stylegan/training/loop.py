"""The training loop, read top to bottom: schedule, data, step, report, checkpoint."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stylegan import __version__, distributed
from stylegan import images as imaging
from stylegan.config import Config
from stylegan.data.dataset import Dataset
from stylegan.distributed import Processes
from stylegan.errors import UserError
from stylegan.ops.switch import describe, ops_mode, using_ops
from stylegan.snapshot import save_snapshot
from stylegan.training import checkpoint, memory, preview, rates, schedule, setup, statistics, transfer
from stylegan.training.batches import Batches, check_schedule
from stylegan.training.checkpoint import Progress
from stylegan.training.eta import Eta, human_time
from stylegan.training.faults import Soundness, in_words
from stylegan.training.health.monitor import Monitor
from stylegan.training.report import Report, averages, memory_gb
from stylegan.training.run import RunFolder, git_revision
from stylegan.training.scoring import Scoring
from stylegan.training.signals import Signals
from stylegan.training.step import Trainer
from stylegan.training.watchdog import Watchdog
from stylegan.training.writer import Writer

_FAULT = 1000  # beyond all signal numbers: the first process could not write its files
_TIME = 999  # likewise: the time of this session is up


@dataclass(frozen=True)
class Result:
    """How a session ended. `stopped` is SIGINT, SIGTERM, stop_kimg or stop_minutes where it ended early, else ''."""

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
    stop_minutes: float | None = None,  # end this session, resumably, after so many minutes of training
) -> Result:
    """Trains, or goes on training, the run in `run_dir`; returns when it is finished or was asked to stop.

    Calling it again with the same configuration resumes exactly. SIGINT and SIGTERM end the session after the
    current iteration with a checkpoint. UserError for bad input; see `stylegan.training.run` for what may change.
    """
    with distributed.start(device) as processes, in_words(processes, run_dir):
        if dataset is None:
            dataset = setup.open_data(config, processes)
        config = setup.agreed(config, dataset, processes)
        check_schedule(config, processes.world)
        folder, problem = None, ""
        if processes.first:
            try:
                folder = RunFolder(run_dir)
                folder.adopt(config, extend)
                folder.clean()
            except UserError as error:
                problem = str(error)
        try:
            problem = processes.share(problem)
            if problem:
                raise UserError(problem)
            with using_ops("fast" if ops_mode() == "auto" else ops_mode()):
                return _Session(config, Path(run_dir), dataset, processes, stop_kimg, quiet, stop_minutes).run()
        finally:
            if folder is not None:
                folder.release()


class _Session:
    """One session of a run, from start or checkpoint to the end, a limit, or a signal."""

    def __init__(
        self, config: Config, run: Path, dataset: Dataset, processes: Processes, stop_kimg: float | None, quiet: bool,
        stop_minutes: float | None,
    ) -> None:  # fmt: skip
        self.config, self.path, self.dataset, self.processes = config, run, dataset, processes
        self.stop_nimg = float("inf") if stop_kimg is None else stop_kimg * 1000
        self.stop_seconds = float("inf") if stop_minutes is None else stop_minutes * 60
        self.begin = time.monotonic()
        self.trainer = Trainer(config, processes)
        self.progress = Progress()
        loaded, complaints = checkpoint.latest_everywhere(run / "checkpoints", processes)
        if loaded is not None:
            checkpoint.restore(self.trainer, loaded)
            self.progress = loaded.progress
        origin = transfer.begin(self.trainer, run, resumed=loaded is not None)
        total = config.schedule.total_kimg * 1000
        if self.progress.nimg < total:
            self.progress.finished = False  # the schedule was extended
        keep, keep_every = config.training.keep_checkpoints, config.training.keep_every_kimg
        self.writer = Writer(run / "checkpoints", keep, keep_every)
        self.sound = Soundness(self.trainer, run / "checkpoints")
        self.fault = ""  # why the first process could not write its files
        self.eta = Eta(config, rates.recall(config, processes))
        self.scoring = Scoring(config, self.trainer.G_ema, run, processes)
        self.signals = Signals(patient=processes.world > 1)
        self.preview = preview.Preview(config, processes.device)
        self.report = Report(run, processes.first, int(total), self.progress.log_bytes, self.progress.nimg, quiet)
        for sentence in [*(f"warning: {complaint}" for complaint in complaints), *origin]:
            self.report.say(sentence)
        self.health = Monitor(config, dataset, run, processes)
        self._mark = (self.progress.nimg, time.monotonic())  # where and when the rate was last measured
        self._prepared = -1  # graphs recorded by then; the first steps of a session are never typical

    def run(self) -> Result:
        """The loop itself."""
        config, progress, trainer = self.config, self.progress, self.trainer
        stopped = ""
        try:
            if progress.finished:
                self.report.say(f"{self.path}: finished at {progress.nimg / 1000:.1f} kimg; nothing left to do")
                return Result(self.path, progress.nimg / 1000, True)
            if progress.nimg >= self.stop_nimg:
                self.report.say(f"{self.path}: already at {progress.nimg / 1000:.1f} kimg; stopped, as asked")
                return Result(self.path, progress.nimg / 1000, False, "stop_kimg")
            with self.signals:
                self._greet()
                self.begin = time.monotonic()
                with self._watchdog(), self._batches() as self.batches:
                    for point in schedule.iterations(config.schedule, config.generator.top, progress.nimg):
                        if schedule.resets_optimizer(progress.lod, point.lod):
                            trainer.reset_optimizers()
                        progress.lod = point.lod
                        for _ in range(config.schedule.repeats):
                            self._step(point)
                        stopped = self._after(point)
                        if stopped:
                            break
                if not stopped:
                    self._finish()
        finally:
            trainer.halves.forget()
            self.writer.wait()
            self.report.close()
            rates.remember(config, self.processes, self.eta.typical)
        return Result(self.path, progress.nimg / 1000, not stopped, stopped)

    @property
    def _done(self) -> bool:
        return self.progress.nimg >= self.config.schedule.total_kimg * 1000

    def _watchdog(self) -> Watchdog:
        return Watchdog(self.processes, self.config.training.hang_seconds, self.report.shout)

    def _batches(self) -> Batches:
        progress = self.progress
        fitted = progress.micro_batch if progress.micro_batch_on == memory.describe(self.processes.device) else 0
        return Batches(self.config, self.dataset, self.processes, progress.nimg, fitted)

    def _step(self, point: schedule.Point) -> None:
        """One step on the next global batch, with smaller micro-batches where memory does not suffice."""
        progress = self.progress
        while True:
            try:
                self.trainer.step(point, progress.nimg, self.batches.next(point, progress.nimg))
                break
            except memory.OutOfMemory:
                memory.release(self.processes.device)
            progress.micro_batch = self.batches.halve(point, progress.nimg)
            progress.micro_batch_on = memory.describe(self.processes.device)
            parts = len(self.batches.rows(point.batch))
            self.report.say(
                f"out of memory: going on with the same batch of {point.batch} in {parts} passes of at most "
                f"{progress.micro_batch} per process (training.micro_batch)"
            )
        progress.nimg += point.batch
        self.sound.look(progress.nimg)

    # --- reports and checkpoints --------------------------------------------------------------------------

    def _greet(self) -> None:
        config, progress, report = self.config, self.progress, self.report
        h, w = config.generator.resolution
        held = config.data.holdout
        count = f"{len(self.dataset):,} images" + (f" ({held} of them held out)" if held else "")
        classes = f", {config.generator.labels} classes" if config.generator.labels else ""
        device = str(self.processes.device)
        if self.processes.device.type == "cuda":
            device = torch.cuda.get_device_name(self.processes.device)
        report.say(
            f"{'going on with' if progress.nimg else 'training'} {self.path}: {w}x{h}, {count}{classes}, "
            f"{config.schedule.total_kimg:g} kimg, {config.training.precision} on {self.processes.world} x {device}, "
            f"operators: {describe(self.processes.device)}"
        )
        if short := schedule.shortfall(config.schedule, config.generator):
            report.say(f"note: {short}")
        if self.eta.before:
            report.say(f"about {human_time(self.eta.remaining(progress.nimg))}, as such trainings went here before")
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
        done, now = self._done, time.monotonic()
        images, seconds = progress.nimg - self._mark[0], now - self._mark[1]
        tick = done or progress.nimg >= progress.tick_start + point.tick_kimg * 1000
        h, w = config.generator.size(point.level)
        where = schedule.describe(point, w, h)
        if seconds > 0.5 or tick:
            if self.processes.device.type == "cuda" and tick:
                torch.cuda.synchronize(self.processes.device)
                seconds = time.monotonic() - self._mark[1]
            prepared = self.trainer.halves.recorded
            self.eta.record(point.level, seconds / images, starting=prepared != self._prepared)
            self._prepared = prepared
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
        name = self._outcome()
        if not name and not done and progress.nimg >= self.stop_nimg:
            name = "stop_kimg"
        if not name or done:
            return ""
        if self.processes.first and not tick:
            try:
                self._write_model(point, "model.safetensors")
            except (OSError, UserError) as error:
                self.fault = str(error)
        self._checkpoint()
        self._settle()
        why = "as asked" if name.startswith("stop_") else f"by {name}"
        where = f"{progress.nimg / 1000:.1f} kimg"
        self.report.say(f"stopped {why} at {where}; saved. Run the same command again to go on.")
        return name

    def _outcome(self) -> str:
        """The signal that any process has received, or stop_minutes where the time of one is up, or ''.

        UserError where the first process could not write.
        """
        fault = self.fault or self.writer.problem
        own: int = signal.Signals[self.signals.name] if self.signals.name else 0
        if time.monotonic() - self.begin >= self.stop_seconds and not self._done:
            own = _TIME
        number = self.processes.most(_FAULT if fault else own)
        if number == _FAULT:
            raise UserError(self.processes.share(fault))
        return "stop_minutes" if number == _TIME else signal.Signals(number).name if number else ""

    def _settle(self) -> None:
        """Waits for the checkpoint that is being written; UserError, in every process, where that failed."""
        self.writer.wait()
        self._outcome()

    def _tick(self, point: schedule.Point, where: str) -> None:
        config, progress = self.config, self.progress
        progress.tick += 1
        rate, left = self.eta.measured[point.level], self.eta.remaining(progress.nimg)
        self.sound.confirm(self.progress.nimg)
        means, memory = averages(self.trainer.statistics), memory_gb(self.processes.device)
        entry: dict[str, Any] = {
            "tick": progress.tick,
            "nimg": progress.nimg,
            "kimg": progress.nimg / 1000,
            "loss": {name: value for name, value in means.items() if name not in statistics.HEALTH},
            "schedule": {"lod": point.lod, "resolution": point.resolution, "batch": point.batch, "lr": point.g_lr,
                         "phase": point.phase},
            "time": {"seconds": round(progress.seconds, 3), "images_per_second": 1 / rate, "memory_gb": memory,
                     "seconds_left": left, "saving_seconds": round(self.writer.blocked, 3)},
        }  # fmt: skip
        news = self.health.look(self.trainer, point, means, entry)
        if self.scoring.due(progress.tick_start, progress.nimg, self._done):
            entry["metrics"] = self.scoring.measure(self.trainer.G_ema, self.dataset, point.lod)
        if self.processes.first:
            try:
                self._tick_files(point, entry)
            except (OSError, UserError) as error:  # told to all processes at the end of the iteration
                self.fault = (
                    f"{error}; once that is mended, run the same command again to go on from the last checkpoint"
                )
        self.report.say(
            f"{progress.nimg / 1000:8.1f} kimg  {where}  {1 / rate:.0f} img/s  {1000 * rate:.2f} s/kimg  "
            f"{memory:.1f} GB  G {means['loss_g']:.3f}  D {means['loss_d']:.3f}  penalty {means['penalty']:.3f}  "
            f"sign(D(real)) {means['sign_real']:+.2f}  {human_time(left)} left"
        )
        for sentence in news:
            self.report.news(sentence, progress.nimg)
        self.trainer.statistics.zero_()
        progress.tick_start = progress.nimg
        if progress.tick % config.training.checkpoint_ticks == 0 and not self._done:
            self._checkpoint()
        self._mark = (progress.nimg, time.monotonic())  # the report itself is not training

    def _tick_files(self, point: schedule.Point, entry: dict[str, Any]) -> None:
        """The grid, the lines of the logs, and the model files of a report."""
        grid = self.preview.draw(self.trainer.G_ema, point.lod)
        imaging.write_png(preview.grid_path(self.path, self.progress.nimg), grid)
        self.report.tick(entry, grid)
        self._model_files(point)
        if "metrics" in entry:
            values = entry["metrics"]
            best = self.scoring.keep_if_best(values, self.trainer.G_ema, self.config, self._facts())
            text = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
            self.report.say(f"{text}{'  (best so far: best.safetensors)' if best else ''}")

    def _model_files(self, point: schedule.Point) -> None:
        """model.safetensors at every report, and numbered snapshots now and then."""
        progress = self.progress
        self._write_model(point, "model.safetensors")
        if progress.tick % self.config.training.snapshot_ticks == 0:
            self._write_model(point, f"snapshots/network-{progress.nimg // 1000:06d}kimg.safetensors")

    def _write_model(self, point: schedule.Point, name: str) -> None:
        """The averaged generator as it stands."""
        self.trainer.G_ema.lod = point.lod
        config = self.config.model_dump(mode="json")
        save_snapshot(self.path / name, self.trainer.G_ema, config=config, training=self._facts())

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
            "lineage": transfer.lineage(self.path),
            "revision": git_revision(),
            "library": __version__,
        }  # fmt: skip

    def _checkpoint(self) -> None:
        """Begins to save the state as it is now, in the background."""
        self.sound.confirm(self.progress.nimg)
        if self.processes.first and not self.fault:
            self.progress.log_bytes = self.report.log_bytes
            self.writer.save(self.trainer, self.progress)

    def _finish(self) -> None:
        self.progress.finished = True
        self._checkpoint()
        self._settle()
        if self.processes.first:
            try:
                clip = preview.write_timelapse(self.path)
                told = f"  Time-lapse: {clip}" if clip else ""
            except UserError as error:  # the training is done and saved whatever becomes of its film
                told = f"  No time-lapse: {error}"
            kimg, model = f"{self.progress.nimg / 1000:.1f} kimg", self.path / "model.safetensors"
            h, w = self.config.generator.resolution
            lod = self.trainer.G_ema.lod
            told = (f", grown to lod {lod:g} of {w}x{h}" if lod else "") + told
            self.report.say(f"finished: {kimg} in {human_time(self.progress.seconds)}. Model: {model}{told}")
