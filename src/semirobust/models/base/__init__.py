"""What architectures share, how they are built, and their checkpoints."""
