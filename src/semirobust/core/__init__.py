"""What all other rooms use: errors, checks, seeds, files, processes, registries."""
