"""The abstract class of every method, and parts that several methods are composed of."""
