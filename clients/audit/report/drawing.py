"""Figures as inline SVG: bars, lines, dots; two axes with rounded marks, a legend for several series."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import Any, Final

WIDTH: Final = 640
HEIGHT: Final = 230
LEFT: Final = 64
BOTTOM: Final = 46
TOP: Final = 22
RIGHT: Final = 16
COLOURS: Final = ("#1f5fa8", "#b3541e", "#2a7a3f")


def drawn(figure: dict[str, Any]) -> str:
    """A figure (plain data) as an SVG element."""
    return "".join(_svg(figure))


def _svg(figure: dict[str, Any]) -> Iterator[str]:
    series = {name: points for name, points in figure["series"].items() if points}
    yield f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(figure["title"])}" '
    yield 'font-family="sans-serif" font-size="11">'
    if not series:
        yield f'<text x="{WIDTH / 2}" y="{HEIGHT / 2}" text-anchor="middle">nothing to show</text></svg>'
        return
    xs: list[float] = [point[0] for points in series.values() for point in points]
    ys: list[float] = [point[1] for points in series.values() for point in points]
    bars = figure["kind"] == "bars"
    low, high = _bounds(min(xs), max(xs), pad=bars)
    top = max(max(ys) * 1.1, 1e-9)

    def x_of(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP)

    for mark in _marks(0, top):
        height = f"{y_of(mark):.1f}"
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height}" y2="{height}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 6}" y="{y_of(mark) + 4:.1f}" text-anchor="end">{_number(mark)}</text>'
    for mark in sorted(set(xs)) if bars and len(set(xs)) < 6 else _marks(low, high):
        yield f'<text x="{x_of(mark):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
        yield f"{_number(mark)}</text>"
    yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(0):.1f}" y2="{y_of(0):.1f}" stroke="#333"/>'
    yield f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(figure["x"])}</text>'
    yield f'<text x="{LEFT}" y="13" text-anchor="start">{escape(figure["y"])}</text>'
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        if len(series) > 1:
            yield f'<text x="{WIDTH - RIGHT - 90 * number}" y="13" text-anchor="end" fill="{colour}">'
            yield f"{escape(name)}</text>"
        if figure["kind"] == "line":
            path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
            yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        elif bars:
            for x, y in points:
                yield f'<rect x="{x_of(x) - 9:.1f}" y="{y_of(y):.1f}" width="18" fill="{colour}" '
                yield f'height="{max(0.0, y_of(0) - y_of(y)):.1f}"/>'
        else:
            for x, y in points:
                yield f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{colour}"/>'
    yield "</svg>"


def _bounds(low: float, high: float, *, pad: bool) -> tuple[float, float]:
    if low == high:
        spread = abs(low) * 0.1 or 1.0
        return low - spread, high + spread
    room = (high - low) * 0.08 if pad else 0.0
    return low - room, high + room


def _marks(low: float, high: float) -> Iterator[float]:
    """Four to eight round numbers between two."""
    step = 10 ** math.floor(math.log10((high - low) or 1))
    while (high - low) / step < 4:
        step /= 2
    while (high - low) / step > 8:
        step *= 2
    mark = math.ceil(low / step) * step
    while mark <= high:
        yield mark
        mark += step


def _number(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.3f}".rstrip("0").rstrip(".")
