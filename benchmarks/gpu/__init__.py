"""What an accelerator alone can answer, within nine minutes and with PyTorch and NumPy alone."""
