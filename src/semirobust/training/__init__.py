"""The only code that writes parameters: one loop for every method."""
