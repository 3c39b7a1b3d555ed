"""Pages from records alone: they need no model and no torch."""
