"""What may be added to the training loop, one file each."""
