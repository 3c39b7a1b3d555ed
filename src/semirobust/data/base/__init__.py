"""Images in memory, and how they are located, downloaded and read."""
