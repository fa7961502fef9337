"""Tables on the terminal, in which no word and no number is ever cut."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

PIPED = 120  # characters of a line that no terminal shows, where the table can do with so many
FOLDED = 16  # characters of a word that may go on in the next line


def show(table: Table, stderr: bool = False, piped: int = PIPED) -> None:
    """Prints a table as wide as the terminal, or wider where its longest words want it; brackets are plain text.

    Columns with `no_wrap` stay whole, of those with overflow "fold" words too may go on in the next line.
    Widths are set here: rich, short of room, takes from the widest column first, whatever its words, and cuts.
    """
    console = Console(stderr=stderr, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = piped
    cells = [[_plain(cell) for cell in (column.header, *column.cells)] for column in table.columns]
    lines = [max(cell_len(line) for cell in column for line in (cell.splitlines() or [""])) for column in cells]
    least = [max(cell_len(word) for cell in column for word in (cell.split() or [""])) for column in cells]
    for i, column in enumerate(table.columns):
        if column.no_wrap:
            least[i] = lines[i]
        elif column.overflow == "fold":
            least[i] = min(least[i], FOLDED)
        else:
            column.overflow = "crop"  # nothing but a space, for which "ellipsis" takes letters where some are wide
        column.width = least[i]
    spare = max(console.width - _width(console, table), 0)
    wishes = sorted(range(len(lines)), key=lambda i: lines[i] - least[i])
    for left, i in zip(range(len(wishes), 0, -1), wishes, strict=True):  # who wants little gets all of it
        more = min(lines[i] - least[i], spare // left)
        table.columns[i].width, spare = least[i] + more, spare - more
    console.width = max(console.width, _width(console, table))
    console.print(table)


def _plain(cell: RenderableType) -> str:
    return cell.plain if isinstance(cell, Text) else str(cell)


def _width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum
