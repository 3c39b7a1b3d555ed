"""What the commands print of their results, one concept a file."""
