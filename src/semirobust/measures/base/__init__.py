"""The abstract class of every measure by layer, and what several of them or their callers use."""
