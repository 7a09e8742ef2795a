"""Curves of recall over false reuse, as an SVG that any browser shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _MARGIN = 640, 480, 60
_COLOURS = {"probability": "#1f6feb", "cosine": "#b35900"}
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)

Curve = Sequence[Mapping[str, float | None]]


def plotted(curves: Mapping[str, Curve]) -> str:
    """Return the drawing: false reuse to the right, recall upwards, a line for each rule."""
    look = 'font-family="sans-serif" font-size="13"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {look}>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *_axes(),
        *(_line(name, curve, row) for row, (name, curve) in enumerate(curves.items())),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _axes() -> list[str]:
    lines = []
    for tick in _TICKS:
        x, y = _place(tick, tick)
        left, bottom = _place(0, 0)
        right, top = _place(1, 1)
        lines += [
            f'<path d="M{x} {bottom}V{top}M{left} {y}H{right}" stroke="#ddd" fill="none"/>',
            f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>',
            f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>',
        ]
    middle = _WIDTH / 2
    lines.append(f'<text x="{middle}" y="{_HEIGHT - 14}" text-anchor="middle">false reuse</text>')
    lines.append(f'<text x="{_MARGIN}" y="{_MARGIN - 16}">recall</text>')
    return lines


def _line(name: str, curve: Curve, row: int) -> str:
    points = [
        _place(false_reuse, recall)
        for each in curve
        if (false_reuse := each["false_reuse"]) is not None
        and (recall := each["recall"]) is not None
    ]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""
    colour = _COLOURS.get(name, "black")
    x, y = _place(0.62, 0.16 - 0.07 * row)
    return (
        f'<path d="{path}" stroke="{colour}" stroke-width="2" fill="none"/>'
        f'<text x="{x}" y="{y}" fill="{colour}">{escape(name)}</text>'
    )


def _place(right: float, up: float) -> tuple[float, float]:
    x = _MARGIN + right * (_WIDTH - 2 * _MARGIN)
    y = _HEIGHT - _MARGIN - up * (_HEIGHT - 2 * _MARGIN)
    return x, y
