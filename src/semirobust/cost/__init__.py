"""What an attack, a step of training or a network costs."""
