"""The abstract class of every objective, and losses that several of them use."""
