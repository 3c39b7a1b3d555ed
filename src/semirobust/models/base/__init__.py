"""What architectures share, how they are built, and how weights are read and written."""
