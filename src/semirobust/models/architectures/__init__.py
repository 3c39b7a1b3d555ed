"""Architectures for small images, one a file."""
