"""Three short scripts; each runs in seconds on a CPU, and the tests run them."""
