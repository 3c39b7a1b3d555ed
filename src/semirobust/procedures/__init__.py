"""What composes methods, measures and training: hardening, lottery tickets, recovery."""
