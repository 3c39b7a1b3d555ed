"""A faster copy of a network, and when it may stand in for the network itself."""
