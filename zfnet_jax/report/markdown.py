"""Tables in Markdown that can be read as they are, and the numbers in them."""

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with aligned columns: the head, a rule, and a line for each row of cells."""
    widths = [max(map(len, cells)) for cells in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        f"| {' | '.join(c.ljust(w) for c, w in zip(line, widths, strict=True))} |" for line in lines
    )


def percent(mean: float, standard_deviation: float | None, sign: str = "") -> str:
    """0.4567 and 0.0123 as "45.7 ± 1.2"; with the sign "+" as "+45.7 ± 1.2"."""
    return f"{100 * mean:{sign}.1f}" + (
        f" ± {100 * standard_deviation:.1f}" if standard_deviation is not None else ""
    )
