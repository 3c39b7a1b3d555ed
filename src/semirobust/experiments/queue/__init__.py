"""Studies of many runs: their form, where they are found, and the workers that carry them out."""
