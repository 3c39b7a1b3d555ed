"""What hooks share that find the perturbation of the training images."""

__all__ = ["PERTURBS"]

PERTURBS = "finds the perturbation of the images"
"""The role of such a hook."""
