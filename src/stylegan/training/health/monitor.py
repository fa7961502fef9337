"""The health of one run: measured at its reports, judged with the reports before, said when it changes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from stylegan.config import Config
from stylegan.data.dataset import Dataset
from stylegan.distributed import Processes
from stylegan.training import memory
from stylegan.training.health.judgement import judge
from stylegan.training.health.measures import Probe
from stylegan.training.health.words import began, ended
from stylegan.training.schedule import Point
from stylegan.training.step import Trainer


class Monitor:
    """Looks at a run from its first process; nothing where `training.health` is off.

    What came before is read from stats.jsonl, which is cut to the checkpoint a session starts from: a run that
    was stopped judges as one that was not.
    """

    def __init__(self, config: Config, dataset: Dataset, run: Path, processes: Processes) -> None:
        self.active = config.training.health and processes.first
        self.config, self.device = config, processes.device
        self.seconds = 0.0  # spent on it in this session
        if self.active:
            self.probe = Probe(config, dataset, processes.device)
            self.history = read_history(run / "stats.jsonl")

    def look(self, trainer: Trainer, point: Point, means: dict[str, float], entry: dict[str, Any]) -> list[str]:
        """Adds "health" to a report's entry: measures and findings; returns what is new, in sentences."""
        if not self.active:
            return []
        start = time.monotonic()
        try:
            measures = self.probe.measure(trainer, point, means)
        except (RuntimeError, MemoryError) as error:
            if not memory.is_out_of_memory(error):
                raise
            measures = {}  # training goes on, with smaller passes
            memory.release(self.device)
        entry["health"] = measures | {"findings": []}
        self.history.append(entry)
        before = {finding["code"]: finding for finding in findings_of(self.history[:-1])}
        findings = judge(self.history, self.config)
        news = [began(finding) for finding in findings if finding.code not in before]
        now = {finding.code for finding in findings}
        news += [ended(code, entry) for code in before if code not in now]
        entry["health"]["findings"] = [finding.as_json() for finding in findings]
        self.seconds += time.monotonic() - start
        entry["time"]["health_seconds"] = round(self.seconds, 3)
        return news


def read_history(file: Path) -> list[dict[str, Any]]:
    """The reports in a stats.jsonl; lines that cannot be read are left out."""
    history = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"nimg", "schedule", "loss"} <= entry.keys():
            history.append(entry)
    return history


def findings_of(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What held at the last report."""
    return list(history[-1].get("health", {}).get("findings", [])) if history else []
