"""The documentation is executed: examples run, commands exist, links lead somewhere, names are true."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
import tomllib
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from stylegan.cli import VERBS, cli
from stylegan.config.overrides import fields, parse_overrides
from stylegan.config.presets import names as preset_names

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "stylegan"
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
WALKTHROUGH = (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
SECTIONS = {text.splitlines()[0]: text for text in re.split(r"(?m)^## (?=\d)", WALKTHROUGH)[1:]}


def blocks(text: str, language: str) -> list[tuple[str, str]]:
    """(HTML comment on the line above or "", code) of each fenced block in this language, in order."""
    pattern = rf"(?ms)(?:^<!-- ([^\n]*) -->\n)?^```{language}\n(.*?)^```$"
    return [(comment or "", code) for comment, code in re.findall(pattern, text)]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- the walkthrough ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("title", SECTIONS)
def test_walkthrough_examples_print_what_they_say(title: str) -> None:
    examples = blocks(SECTIONS[title], "python")
    assert examples, "every section has an example to run"
    namespace: dict[str, object] = {}
    for _, code in examples:
        expected = [line.rstrip() for line in re.findall(r"# -> (.*)", code)]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"walkthrough.md, {title}", "exec"), namespace)
        assert [line.rstrip() for line in printed.getvalue().splitlines()] == expected


@pytest.mark.parametrize("title", SECTIONS)
def test_walkthrough_excerpts_are_in_the_source(title: str) -> None:
    """Each line of an excerpt stands in the file it names, in this order; lines in between may be left out."""
    for comment, code in blocks(SECTIONS[title], "py"):
        found = re.fullmatch(r"from (\S+)", comment)
        assert found, f"an excerpt without `<!-- from FILE -->` above it:\n{code}"
        lines = iter((SOURCE / found[1]).read_text(encoding="utf-8").splitlines())
        for line in code.splitlines():
            assert line in lines, f"{found[1]} has no such line (any more, or not in this order): {line}"


# --- commands -----------------------------------------------------------------------------------------------


def commands(text: str) -> list[tuple[str, list[str]]]:
    """(reason why tests do not run it or "", words) of each shell command, continuation lines joined."""
    found = []
    for language in ("bash", "powershell"):
        for comment, code in blocks(text, language):
            reason = comment.removeprefix("not run by tests: ") if comment.startswith("not run") else ""
            for line in code.replace("\\\n", " ").splitlines():
                words = shlex.split(line.replace("\\", "/"), comments=True)
                if words:
                    found.append((reason if language == "bash" else "for Windows", words))
    return found


def stylegan_arguments(words: list[str]) -> list[str] | None:
    """What follows `stylegan` in a command, also behind torchrun and uvx; None where it is another program."""
    for i, word in enumerate(words):
        if word.split("/")[-1] == "stylegan" and (i == 0 or words[0].split("/")[-1] in ("torchrun", "uvx")):
            return words[i + 1 :]
    return None


ALL_COMMANDS = [
    pytest.param(words, id=f"{name_of(path)}: {shlex.join(words)}")
    for path in DOCS
    for _, words in commands(path.read_text(encoding="utf-8"))
    if stylegan_arguments(words) is not None
]


@pytest.mark.parametrize("words", ALL_COMMANDS)
def test_documented_commands_exist(words: list[str]) -> None:
    """Verb, options and their values are parsed as the command line parses them; nothing is run."""
    arguments = stylegan_arguments(words)
    assert arguments, "a verb"
    if arguments[0].startswith("-"):
        assert arguments[0] in ("-h", "--help", "--version")
        return
    assert arguments[0] in VERBS
    command = cli.get_command(click.Context(cli), arguments[0])
    assert command is not None
    if set(arguments) & {"-h", "--help"}:
        return
    context = command.make_context(arguments[0], arguments[1:])
    if arguments[0] == "train":
        parse_overrides(context.args)
        assert context.params["preset_name"] in preset_names()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [words[1] for path in DOCS for _, words in commands(path.read_text("utf-8")) if words[0] == "make"]
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"(?m)^{target}:", makefile), f"make {target}"


# what makes a training short; an option that the README gives itself is replaced
SHORT = {
    "--device": "cpu",
    "--resolution": "16",
    "--kimg": "0.2",
    "--batch": "8",
    "--schedule.stable_kimg": "0.03",
    "--schedule.fade_kimg": "0.03",
    "--schedule.tick_kimg": "0.1",
    "--generator.fmap_max": "8",
    "--discriminator.fmap_max": "8",
}


def quick(arguments: list[str]) -> list[str]:
    """The same command for a short run: small networks and few images where it trains."""
    if arguments[0] == "prepare":
        return [*arguments, "--workers", "1"]
    if arguments[0] != "train":
        return arguments
    kept, skip = [], False
    for word in arguments:
        if not skip and word not in SHORT:
            kept.append(word)
        skip = word in SHORT
    return kept + [word for pair in SHORT.items() for word in pair]


def pictures(folder: Path, count: int, seed: int) -> None:
    """Some small images of various sizes."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for i in range(count):
        colours = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        size = (48 + 8 * (i % 3), 40)
        Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with photos/ and animals/, and a cache of its own."""
    pictures(tmp_path / "photos", 12, 0)
    pictures(tmp_path / "animals" / "cat", 6, 1)
    pictures(tmp_path / "animals" / "dog", 6, 2)
    Image.open(tmp_path / "photos" / "00.png").save(tmp_path / "portrait.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    return tmp_path


def test_readme_from_top_to_bottom(newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the README that is not marked otherwise, in order, then its Python examples."""
    ran = []
    for reason, words in commands(README):
        arguments = stylegan_arguments(words)
        if reason or arguments is None:
            assert reason, f"neither run by tests nor marked: {shlex.join(words)}"
            continue
        cli.main(quick(arguments), prog_name="stylegan", standalone_mode=False)
        ran.append(arguments[0])
    assert set(ran) >= {"prepare", "train", "generate", "mix", "truncation", "interpolate", "presets"}
    for path in ("model.safetensors", "reals.png", "stats.jsonl", "timelapse.mp4"):
        assert (newcomer / "runs" / "photos" / path).stat().st_size > 0, path
    for path in ("drawings/seed0000.png", "drawings/sheet.png", "mixing.png", "truncation.png", "walk.mp4"):
        assert (newcomer / path).stat().st_size > 0, path
    assert not (newcomer / "runs" / "other").exists(), "--dry-run leaves nothing behind"

    import stylegan
    from stylegan.training import train

    def short(config: stylegan.Config, run_dir: str, **options: object) -> object:
        schedule = {"total_kimg": 0.1, "stable_kimg": 0.01, "fade_kimg": 0.01, "batch": 8, "batch_by_resolution": {}}
        config = stylegan.Config.model_validate(config.model_dump() | {"schedule": schedule})
        return train(config, run_dir, "cpu", quiet=True, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(stylegan, "train", short, raising=False)
    for _, code in blocks(README, "python"):
        exec(compile(code, "README.md", "exec"), {})
    assert (newcomer / "runs/from-python/model.safetensors").exists()


# --- links and names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_relative_links_lead_to_files(path: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", path.read_text(encoding="utf-8"))
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = (path.parent / file) if file else path
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            missing.append(target)
    assert not missing


def anchors(path: Path) -> set[str]:
    """The names GitHub gives to a page's headings."""
    headings = re.findall(r"(?m)^#+ (.*)$", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_code_that_is_named_exists(path: Path) -> None:
    """`networks/mapping.py::MappingNetwork.w`, relative to src/stylegan; tests are named by file and beginning."""
    text = path.read_text(encoding="utf-8")
    for module, name in re.findall(r"`(test_\w+)\.py::(\w+)", text):
        (file,) = (ROOT / "tests").rglob(f"{module}.py")
        assert f"def {name}" in file.read_text(encoding="utf-8"), f"{module}.py has no test {name}..."
    references = {ref for ref in re.findall(r"`([\w/]+)\.py::([\w.]+)`", text) if not ref[0].startswith("test_")}
    if path.name in ("paper-to-code.md", "walkthrough.md"):
        assert len(references) > 20
    for module, name in references:
        thing: object = importlib.import_module(f"stylegan.{module.replace('/', '.')}")
        for part in name.split("."):
            assert hasattr(thing, part), f"{module}.py has no {name}"
            thing = getattr(thing, part)


def test_presets_settings_and_verbs_of_paper_to_code_exist() -> None:
    text = (ROOT / "docs" / "paper-to-code.md").read_text(encoding="utf-8")
    presets = re.findall(r"`((?:table\d|ffhq|celebahq)[\w-]*)`", text)
    settings = re.findall(r"`((?:data|generator|discriminator|schedule|loss|training)\.\w+)`", text)
    verbs = re.findall(r"`stylegan (\w+)`", text)
    assert len(presets) > 15
    assert len(settings) > 10
    assert set(presets) <= set(preset_names())
    assert set(settings) <= {name for name, _ in fields()}
    assert set(verbs) <= set(VERBS)
    assert {name for name in preset_names() if name.startswith("table")} <= set(presets), "every preset has its row"


# --- dependencies -------------------------------------------------------------------------------------------


def test_dependencies_are_those_of_the_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    package, extras = project["project"], project["project"]["optional-dependencies"]
    optional = [text for texts in extras.values() for text in texts]
    required = [*package["dependencies"], *optional, *project["build-system"]["requires"]]
    pairs = [re.findall(r"^([\w-]+)\s*(.*)$", text)[0] for text in required if not text.startswith(package["name"])]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"(?m)^\| `([\w-]+)` \| (\S+) \|", page)) == dict(pairs)


def test_notice_and_version() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for phrase in ("Apache License, Version 2.0", "Patents of others may apply", "CC BY 4.0", "no code of"):
        assert phrase in notice
    assert "[Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
