"""Fewer weights: which go, what happens to those that stay, and how they are held at 0."""
