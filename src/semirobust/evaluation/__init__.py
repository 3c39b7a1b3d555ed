"""Verdicts on examples: accuracy, clean and under attack."""
