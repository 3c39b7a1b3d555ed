"""The form of every launcher."""
