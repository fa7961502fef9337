"""The picture in docs/architecture.md is true: units, their imports, and the habits a machine can check.

`python -m tests.test_architecture` brings imports and file lists up to date; what a new unit is remains to be
written by hand.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "stylegan"
DOC = ROOT / "docs" / "architecture.md"
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400
DRAWERS = re.compile(r"^_?(utils?|misc|commons?|helpers?|stuff|tools)$")

# units that run without PyTorch, so that `stylegan --help` and typing mistakes are answered at once
WITHOUT_TORCH = [
    "stylegan",
    "stylegan.cli",
    "stylegan.config",
    "stylegan.config.presets",
    "stylegan.lod",
    "stylegan.errors",
]

MAY_IMPORT_PICKLE: set[str] = set()  # nobody: official pickles are read by a reader of the project's own


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def unit_of(path: Path) -> str:
    """`networks` for networks/mapping.py, `lod` for lod.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


UNITS = sorted({unit_of(path) for path in FILES} - {"__init__", "__main__"})


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def modules_imported(path: Path, nodes: list[ast.stmt] | None = None) -> set[str]:
    """Dotted names a file imports, also inside functions; `nodes` narrows that to some statements."""
    found: set[str] = set()
    for node in (n for top in nodes or tree_of(path).body for n in ast.walk(top)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno}: imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def units_imported(path: Path) -> set[str]:
    dotted = [m.split(".") for m in modules_imported(path) if m.startswith("stylegan.")]
    return {parts[1] for parts in dotted if parts[1] in UNITS}


def reality() -> dict[str, set[str]]:
    table: dict[str, set[str]] = {unit: set() for unit in UNITS}
    for path in FILES:
        if unit_of(path) in table:
            table[unit_of(path)] |= units_imported(path) - {unit_of(path)}
    return table


def documented() -> dict[str, set[str]]:
    """Rows `| unit | what it is | imports |` of the import table."""
    text = DOC.read_text(encoding="utf-8").split("## Import table")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", text, re.MULTILINE)
    return {unit: set(re.findall(r"`(\w+)`", imports)) for unit, imports in rows}


def test_import_table_in_the_documentation_is_the_code() -> None:
    table, found = documented(), reality()
    assert table.keys() == found.keys(), "units in docs/architecture.md and in src/stylegan differ"
    for unit, imports in found.items():
        assert table[unit] == imports, (
            f"{unit} imports {sorted(imports)}, docs/architecture.md says {sorted(table[unit])}"
        )


def test_imports_go_one_way() -> None:
    order = list(TopologicalSorter(reality()).static_order())  # CycleError names a circle
    assert order.index("errors") < order.index("networks") < order.index("training") < order.index("cli")


def test_table_is_in_the_order_of_the_imports() -> None:
    """Each unit stands below the ones it imports, so the table can be read from the top."""
    seen: set[str] = set()
    for unit, imports in documented().items():
        assert imports <= seen, f"{unit} stands above {sorted(imports - seen)}"
        seen.add(unit)


def test_tree_in_the_documentation_is_the_package() -> None:
    tree = DOC.read_text(encoding="utf-8").split("## Layout")[1].split("\n## ")[0]
    drawn = set(re.findall(r"^  (\w+)(?:/|\.py)", tree, re.MULTILINE))
    assert drawn == set(UNITS) | {"__init__", "__main__"}
    for package, files in re.findall(r"^  (\w+)/[^\[]*\[([^\]]*)\]", tree, re.MULTILINE):
        named = set(re.findall(r"\w+", files))
        actual = {path.stem for path in (PACKAGE / package).glob("*.py")} - {"__init__"}
        assert named == actual, f"{package}/ has {sorted(actual)}, the tree names {sorted(named)}"


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_imported_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'av', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, (
        f"{module} imports torch or the like"
    )


def test_help_is_instant() -> None:
    code = """
import sys
from stylegan.cli import cli
cli.main(["--help"], standalone_mode=False)
sys.exit("torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "train" in result.stdout


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file_length(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, (
        f"{name_of(path)}: {lines} lines, at most {MAX_LINES}; split it by what it does"
    )


def test_no_drawers() -> None:
    places = [
        p
        for folder in ("src", "tests", "benchmarks")
        for p in (ROOT / folder).rglob("*")
        if p.suffix in ("", ".py")
    ]
    assert not [p for p in places if DRAWERS.match(p.stem)], "name files by what they do"


def test_every_file_says_what_it_is() -> None:
    silent = [name_of(p) for p in FILES if p.name != "__main__.py" and not ast.get_docstring(tree_of(p))]
    assert not silent


def test_nothing_unpickles() -> None:
    """Weights are data: no pickle, and no torch.load that would unpickle objects."""
    for path in FILES:
        pickling = {m.split(".")[0] for m in modules_imported(path)} & {
            "pickle",
            "_pickle",
            "dill",
            "joblib",
            "shelve",
            "marshal",
        }
        assert not pickling or name_of(path) in MAY_IMPORT_PICKLE, f"{name_of(path)} imports {pickling}"
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            called = ast.unparse(node.func)
            assert called not in ("pickle.load", "pickle.loads"), f"{name_of(path)}:{node.lineno}"
            if called == "torch.load":
                safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
                assert safe, f"{name_of(path)}:{node.lineno}: torch.load without weights_only=True"
            if called in ("np.load", "numpy.load"):
                unsafe = any(
                    k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords
                )
                assert not unsafe, f"{name_of(path)}:{node.lineno}: allow_pickle"


def test_nothing_is_executed_from_text() -> None:
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "compile", "__import__"), (
                    f"{name_of(path)}:{node.lineno}"
                )
            if isinstance(node, ast.keyword) and node.arg == "shell":
                assert ast.unparse(node.value) == "False", f"{name_of(path)}:{node.lineno}: shell=True"


def test_public_names_exist() -> None:
    import stylegan

    for name in stylegan.__all__:
        assert getattr(stylegan, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        stylegan.nonsense  # noqa: B018


def rewrite() -> None:
    """Brings the imports and file lists of docs/architecture.md up to date, keeping all descriptions."""
    text, real, old = DOC.read_text(encoding="utf-8"), reality(), list(documented())
    told = dict(re.findall(r"^\| `(\w+)` \| (.*) \| [^|]* \|$", text, re.MULTILINE))
    order: list[str] = []
    for unit in [
        *(u for u in old if u in real),
        *(u for u in TopologicalSorter(real).static_order() if u not in old),
    ]:
        after = max((order.index(u) + 1 for u in real[unit] if u in order), default=0)
        before = min((order.index(u) for u in order if unit in real[u]), default=len(order))
        order.insert(max(after, before) if unit not in old else len(order), unit)
    imports = {u: ", ".join(f"`{i}`" for i in order if i in real[u]) or "nothing" for u in order}
    rows = "\n".join(f"| `{unit}` | {told.get(unit, '?')} | {imports[unit]} |" for unit in order)
    text = re.sub(
        r"(?<=\|---\|---\|---\|\n)(\| `\w+` .*\n)+", rows.replace("\\", r"\\") + "\n", text, count=1
    )

    def files(match: re.Match[str]) -> str:
        present = {path.stem for path in (PACKAGE / match[2]).glob("*.py")} - {"__init__"}
        named = re.findall(r"\w+", match[3])
        return (
            f"{match[1]}[{', '.join([*(n for n in named if n in present), *sorted(present - set(named))])}]"
        )

    DOC.write_text(
        re.sub(r"(^  (\w+)/[^\[]*)\[([^\]]*)\]", files, text, flags=re.MULTILINE), encoding="utf-8"
    )


if __name__ == "__main__":
    rewrite()
