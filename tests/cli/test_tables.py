"""Tables lose nothing, however narrow the terminal."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from stylegan.cli import cli
from stylegan.cli._tables import show
from stylegan.config.presets import PRESETS

WORD = st.text(st.sampled_from("abcdefgh[]/=0123456789…한"), min_size=1, max_size=30)
CELL = st.lists(WORD, max_size=6).map(" ".join)


def printed(table: Table, width: int) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        show(table, piped=width)
    return out.getvalue()


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=4), width=st.integers(10, 120))
def test_every_word_stands_there_whole(rows: list[tuple[str, str, str]], width: int) -> None:
    table = Table("first", "second", "third", box=None)
    for row in rows:
        table.add_row(*row)
    shown = printed(table, width)
    for word in " ".join(cell for row in rows for cell in row).split():
        assert word in shown


def test_columns_that_stay_whole_and_words_that_may_go_on_in_the_next_line() -> None:
    table = Table(box=None)
    table.add_column("size", no_wrap=True)
    table.add_column("path", overflow="fold")
    table.add_row(Text("9.8 MB on disk"), "runs/" + "x" * 40)
    lines = printed(table, 40).splitlines()
    assert any("9.8 MB on disk" in line for line in lines)
    assert max(map(len, lines)) <= 40
    assert printed(table, 40).count("x") == 40


def test_a_wide_terminal_is_not_filled_for_nothing_and_a_narrow_one_is_used() -> None:
    table = Table("what", "why", box=None, pad_edge=False)
    table.add_row("a", "several words that fit into two lines of a narrow one")
    assert len(printed(table, 200).splitlines()) == 2
    assert len(printed(table, 40).splitlines()) == 3
    assert max(map(len, printed(table, 40).splitlines())) <= 40


def test_presets_name_every_setting_at_60_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # a terminal, says rich
    monkeypatch.setenv("COLUMNS", "60")
    found = CliRunner().invoke(cli, ["presets"], catch_exceptions=False).output
    assert max(map(cell_len, found.splitlines()[1:])) < 80  # as wide as the longest words, not as a pipe
    for name, (_, diff) in PRESETS.items():
        assert name in found
        for section, values in diff.items():
            assert all(f"{section}.{field}=" in found for field in values)
