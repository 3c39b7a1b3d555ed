"""The form of every hook, and what several of them share."""
