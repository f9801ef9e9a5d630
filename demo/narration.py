"""How the story is told on a terminal: chapters, what is being done now, and how each ended.

On a terminal the line under way is redrawn with its running time; elsewhere each message is a line. Colour on terminals only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

INDENT = 7


class Narrator:
    """Prints to `out` (standard error by default, so that standard output stays for results)."""

    def __init__(self, out: IO[str] | None = None) -> None:
        from rich.console import Console

        file = out or sys.stderr
        probe = Console(file=file)
        self.live = probe.is_terminal and not probe.is_dumb_terminal
        self.console = probe if self.live else Console(file=file, force_terminal=False, no_color=True)
        self.started = time.monotonic()
        self.chapters: list[dict[str, object]] = []
        self._progress: Progress | None = None

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self.started)
        return f"{seconds // 60:2d}:{seconds % 60:02d}"

    @contextmanager
    def chapter(self, title: str) -> Iterator[list[str]]:
        """One chapter; the list yielded takes the sentences of its outcome."""
        from rich.text import Text

        self.console.print(Text.assemble("\n", (self._clock(), "dim"), "  ", (f"{len(self.chapters) + 1}. {title}", "bold")))
        begun = time.monotonic()
        outcome: list[str] = []
        with self._under_way():
            yield outcome
        for sentence in outcome:
            self._indented("✓ ", sentence)
        self.chapters.append({"title": title, "outcome": " ".join(outcome), "seconds": round(time.monotonic() - begun, 1)})

    def doing(self, message: str) -> None:
        """What is being done now."""
        if self._progress is None:
            self._indented("", message)
        else:
            self._progress.update(self._progress.task_ids[0], description=message)

    def say(self, message: str) -> None:
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        """The line that is redrawn, on a terminal, cut at its width."""
        if not self.live:
            yield
            return
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        columns = (
            SpinnerColumn(table_column=Column(width=INDENT + 1, justify="right")),
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            TimeElapsedColumn(table_column=Column(width=7)),
        )
        with Progress(*columns, console=self.console, transient=True, expand=True) as self._progress:
            self._progress.add_task("", total=None)
            try:
                yield
            finally:
                self._progress = None

    def _indented(self, mark: str, text: str) -> None:
        """`text` with a hanging indent below `mark`; in a file on one line, however long."""
        if not self.live:
            self.say(f"{' ' * INDENT}{mark}{text}")
            return
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid()
        grid.add_row(Text(mark, "green"), Text(text))
        self.console.print(Padding(grid, (0, 0, 0, INDENT), expand=False))
