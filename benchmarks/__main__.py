"""All benchmarks in one run."""

import torch

from benchmarks import autoattack, pgd
from semirobust.records.origin import origin


def main() -> None:
    """Print each comparison; the last column is what to quote."""
    threads = torch.get_num_threads()
    print(f"{origin({}, seed=0, threads=threads).device}, torch {torch.__version__}; medians of 5 runs in turn")
    for comparison in pgd.run():
        print(comparison)
    print("against the authors' AutoAttack, one run each:")
    for verdicts in autoattack.run():
        print(verdicts, flush=True)


if __name__ == "__main__":
    main()
