"""Draw the losses that ``benchmarks.training`` wrote: ``python -m scripts.plot_training FILE.csv FILE.svg``
(needs matplotlib).
"""

import csv
import sys
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

from scripts.svg import save_figure

__all__ = ["main"]

matplotlib.rcParams.update({"svg.hashsalt": "semirobust", "svg.fonttype": "none", "font.size": 9})
matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
STYLES = {
    "torchattacks": ("#5b6670", "-"),
    "ours": ("#0072B2", "--"),
    "ours, outer loss in bfloat16 too": ("#D55E00", ":"),
}


def main() -> None:
    """One panel for each seed."""
    rows = list(csv.DictReader(Path(sys.argv[1]).read_text().splitlines()))
    seeds = sorted({int(row["seed"]) for row in rows})
    figure, panels = plt.subplots(1, len(seeds), figsize=(3.4 * len(seeds), 2.9), sharey=True, squeeze=False)
    for seed, panel in zip(seeds, panels[0], strict=True):
        for way, (colour, style) in STYLES.items():
            own = [row for row in rows if row["way"] == way and int(row["seed"]) == seed]
            steps, losses = [int(row["step"]) for row in own], [float(row["loss"]) for row in own]
            panel.plot(steps, losses, style, color=colour, linewidth=1.8, label=way)
        panel.set(title=f"seed {seed}", xlabel="step")
        panel.grid(alpha=0.25)
    panels[0][0].set_ylabel("loss, nats")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="upper center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    save_figure(figure, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
