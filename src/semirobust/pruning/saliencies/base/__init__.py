"""The form of every saliency."""
