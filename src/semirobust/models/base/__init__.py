"""What architectures share, and how they are built."""
