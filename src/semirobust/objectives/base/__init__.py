"""The form of every objective."""
