"""The abstract class of every selection."""
