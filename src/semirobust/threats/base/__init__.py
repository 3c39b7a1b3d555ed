"""The form of every threat model."""
