"""The command line; it imports the heavy parts only when a command runs."""
