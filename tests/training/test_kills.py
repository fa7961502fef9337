"""kill -9 at random moments. `python -m tests.training.kills 100` does the same a hundred times."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_killed_again_and_again() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.kills", "6", "3"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"survived \{.*'killed': 6", done.stdout)
