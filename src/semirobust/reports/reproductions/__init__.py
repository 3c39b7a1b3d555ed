"""Pages of reproductions: the paper's tables with ours beside them, from records alone."""
