"""`stylegan prepare` as a person calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from stylegan.cli import main
from stylegan.cli.prepare import command
from tests.data.pictures import fill


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `stylegan prepare ...`."""
    with pytest.raises(SystemExit) as stop:
        main(["prepare", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path / "src" / "cat", 3, 20, 40)
    fill(tmp_path / "src" / "dog", 3, 20, 40)
    (tmp_path / "src" / "cat" / "bad.jpg").write_text("x")
    (tmp_path / "src" / "notes.txt").write_text("x")
    (tmp_path / "credit").write_text("by me\n")
    arguments = (tmp_path / "src", tmp_path / "out", "--classes", "--attribution", f"@{tmp_path / 'credit'}")
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    for text in ("6, 1 left out", "16x16", "cat 3, dog 3", "cat/bad.jpg: not an image", "1 .txt", "images/s"):
        assert text in out
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["attribution"] == "by me"
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "already prepared" in out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("{src}/none", "{out}"), "no such folder"),
        (("{src}", "{out}", "--resolution", "100x99"), "100x99"),
        (("{src}", "{out}", "--fit", "squash"), "squash"),
        (("{src}", "{out}", "--classes"), "sub-folders"),
        (("{src}", "{src}/000.png"), "is a file"),
        (("{src}", "{out}", "--attribution", "@{src}/none"), "attribution file"),
        (("{src}",), "OUT"),
        (("{src}", "{out}", "--workers", "many"), "many"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    src = fill(tmp_path / "src", 2)
    filled = [text.format(src=src, out=tmp_path / "out") for text in arguments]
    code, _, err = run(capsys, *filled)
    assert code == 2
    assert reason in err
    assert "Traceback" not in err


def test_help() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    for word in ("--resolution", "--fit", "--classes", "--workers", "--overwrite", "continues", "Example"):
        assert word in result.output


def test_as_a_process_with_two_workers(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 70)
    line = [sys.executable, "-m", "stylegan", "prepare", str(src), str(tmp_path / "out"), "--workers", "2"]
    result = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "70" in result.stdout


def test_a_script_without_a_main_guard_still_works(tmp_path: Path) -> None:
    src = fill(tmp_path / "src", 70)
    script = tmp_path / "script.py"
    script.write_text(
        f"from stylegan.data.prepare import prepare\n"
        f"print(prepare({str(src)!r}, {str(tmp_path / 'out')!r}, workers=2).count)\n"
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "70"
