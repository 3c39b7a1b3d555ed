"""A small data set that needs no download."""

from pathlib import Path

import numpy as np
import torch

from semirobust.core.seed import Seed
from semirobust.data import SOURCES, Images, Splits

__all__ = ["digits"]


@SOURCES.register("digits")
def digits(*, root: str | Path | None = None) -> Splits:
    """1,797 handwritten digits of 8x8 pixels in 16 grey levels (Alpaydin & Kaynak), from scikit-learn.

    There is no official split. Ours holds out 500 random images, always the same.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy((np.asarray(bunch.images) / 16).astype(np.float32))[:, None]
    images = Images(x, torch.from_numpy(np.asarray(bunch.target)).long(), tuple("0123456789"))
    train, test = images.hold_out(500, Seed(("digits", "test")))
    return Splits("digits", train, test)
