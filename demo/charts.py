"""The report's charts, each an inline SVG made by Matplotlib: no script, no link, nothing fetched when the page is read."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BLUE, GREEN, BAD, INK, MUTED = "#2f6fb5", "#3c9a5f", "#c8453b", "#1d2b36", "#8a97a3"


def _axes(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(MUTED)
        ax.tick_params(colors=INK, labelsize=8)
    return figure, axes


def _svg(figure: Any, title: str) -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    svg = text[text.index("<svg") :]
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def traffic(seconds: np.ndarray, series: Mapping[str, np.ndarray], marks: Sequence[tuple[float, str]]) -> str:
    """Requests a second by slot, stacked, with the moments of the story above."""
    figure, axes = _axes(11, 3.4)
    ax = axes[0, 0]
    ax.stackplot(
        seconds,
        series["blue"],
        series["green"],
        series["bad"],
        series["lost"],
        colors=[BLUE, GREEN, BAD, "black"],
        labels=["blue", "green", "bad answers", "lost"],
        step="post",
        linewidth=0,
    )
    top = float(np.percentile(series["blue"] + series["green"] + series["bad"], 99)) * 1.15 + 1
    ax.set_ylim(0, top * 1.55)
    for i, (at, label) in enumerate(marks):
        level = top * (1.06 + 0.115 * (i % 4))
        ax.plot([at, at], [0, level], color=INK, linewidth=0.6, linestyle=":")
        ax.text(at, level, label, fontsize=7, color=INK, va="bottom", ha="left")
    ax.set_xlim(0, float(seconds.max()) + 1)
    ax.set_xlabel("seconds since the load began", fontsize=8)
    ax.set_ylabel("requests a second", fontsize=8)
    ax.legend(loc="lower right", fontsize=7, ncols=4, frameon=True, framealpha=0.85)
    return _svg(figure, "Requests a second by slot")


def forecasts(panels: Sequence[Mapping[str, Any]]) -> str:
    """One panel a SKU: actual units and the median of the old and the new model, with the new 10-90 % band.

    A panel holds `title`, `dates`, `actual`, `before`, `after`, `low`, `high`, all of one length.
    """
    columns = 2
    rows = (len(panels) + 1) // columns
    figure, axes = _axes(11, 2.1 * rows, columns, rows)
    for ax, panel in zip(axes.flat, panels, strict=False):
        x = np.arange(len(panel["dates"]))
        ax.fill_between(x, panel["low"], panel["high"], color=GREEN, alpha=0.18, linewidth=0, label="10-90 % after")
        ax.bar(x, panel["actual"], color=MUTED, alpha=0.55, width=0.8, label="actual")
        ax.plot(x, panel["before"], color=BLUE, linewidth=1.2, label="median before retraining")
        ax.plot(x, panel["after"], color=GREEN, linewidth=1.4, label="median after")
        step = max(1, len(x) // 6)
        ax.set_xticks(x[::step], [str(panel["dates"][i])[5:] for i in x[::step]])
        ax.set_title(panel["title"], fontsize=8, loc="left", color=INK)
    for ax in list(axes.flat)[len(panels) :]:
        ax.set_visible(False)
    axes[0, 0].legend(fontsize=7, frameon=False)
    return _svg(figure, "Forecasts against actuals")


def drift(weeks: Sequence[str], features: Sequence[str], ratios: np.ndarray) -> str:
    """Distance over its calibrated threshold, float [features, weeks]: above 1 the feature drifted in that week."""
    figure, axes = _axes(11, 0.6 + 0.21 * len(features))
    ax = axes[0, 0]
    from matplotlib.colors import TwoSlopeNorm

    image = ax.imshow(np.clip(ratios, 0, 3), aspect="auto", cmap="RdBu_r", norm=TwoSlopeNorm(1.0, 0.0, 3.0))
    ax.set_yticks(range(len(features)), features, fontsize=7)
    ax.set_xticks(range(len(weeks)), [w[5:] for w in weeks], fontsize=7)
    for row in range(len(features)):
        for column in range(len(weeks)):
            if (ratio := ratios[row, column]) >= 1:
                color = "white" if ratio > 2 else INK
                ax.text(column, row, f"{ratio:.1f}", ha="center", va="center", fontsize=6, color=color)
    bar = figure.colorbar(image, ax=ax, shrink=0.8)
    bar.set_label("distance / threshold", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return _svg(figure, "Drift by feature and week")


def errors(names: Sequence[str], wape: Sequence[float], pinball: Sequence[float]) -> str:
    """WAPE of the median and mean pinball loss of each forecast, side by side."""
    figure, axes = _axes(11, 0.7 + 0.3 * len(names), 2)
    for ax, values, title in ((axes[0, 0], wape, "WAPE of the median"), (axes[0, 1], pinball, "mean pinball loss, units")):
        y = np.arange(len(names))[::-1]
        colors = [GREEN if name.startswith(("model", "v2", "after")) else BLUE if "v1" in name else MUTED for name in names]
        ax.barh(y, values, color=colors, height=0.62)
        ax.set_yticks(y, names, fontsize=8)
        ax.set_title(title, fontsize=8, loc="left", color=INK)
        for position, value in zip(y, values, strict=True):
            ax.text(value, position, f" {value:.3f}", va="center", fontsize=7, color=INK)
    return _svg(figure, "Forecast errors")


def latency(samples: Mapping[str, np.ndarray]) -> str:
    """Cumulative distribution of the client's latency by slot, milliseconds on a log scale."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure, axes = _axes(11, 2.4)
    ax = axes[0, 0]
    for slot, color in (("blue", BLUE), ("green", GREEN)):
        ms = np.sort(samples.get(slot, np.array([])))
        if len(ms):
            ax.plot(ms, np.linspace(0, 1, len(ms)), color=color, label=f"{slot} (n = {len(ms):,})", linewidth=1.4)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("milliseconds, as the client saw them", fontsize=8)
    ax.set_ylabel("share of answers", fontsize=8)
    ax.legend(fontsize=7, frameon=False)
    return _svg(figure, "Latency by slot")
