"""The form of every selection."""
