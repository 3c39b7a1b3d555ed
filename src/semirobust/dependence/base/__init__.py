"""What measures of dependence share."""
