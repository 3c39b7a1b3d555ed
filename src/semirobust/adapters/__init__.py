"""Modules that stand in for others while a network trains or is looked at."""
