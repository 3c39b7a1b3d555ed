"""What an attack, a training step or a network costs in time and memory."""
