"""Every function of the library on every network of the zoo, and what each answer is checked against.

No check uses what it checks: features come from plain hooks, attacks from a loop of ten lines, and what a
number is worth from what happens to it when weights become noise.
"""
