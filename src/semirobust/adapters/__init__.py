"""Modules that take the place of others while a network is trained."""
