"""Tables as text, and the numbers in them."""

from collections.abc import Sequence


def align_columns(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The cells of a table, each filled with spaces to the width of its column.

    Args:
      rows: of the same number of cells.

    Returns:
      The same rows.
    """
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]


def plain_table(rows: Sequence[Sequence[str]], head: int = 0) -> str:
    """A table for a terminal.

    Args:
      rows: of the same number of cells.
      head: how many of them are headings, which a rule parts from the others; 0 draws no rule.

    Returns:
      Lines with aligned columns, without spaces at their ends.
    """
    lines = ["  ".join(row) for row in align_columns(rows)]
    if head:
        lines.insert(head, "-" * len(lines[0]))
    return "\n".join(line.rstrip() for line in lines)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown that can be read as it is: the head, a rule, and the rows."""
    rule = ["-" * max(map(len, cells)) for cells in zip(head, *rows, strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in align_columns([head, rule, *rows]))


def percent(mean: float, standard_deviation: float | None, sign: str = "") -> str:
    """0.4567 and 0.0123 as "45.7 ± 1.2"; with the sign "+" as "+45.7 ± 1.2"."""
    spread = "" if standard_deviation is None else f" ± {100 * standard_deviation:.1f}"
    return f"{100 * mean:{sign}.1f}{spread}"
