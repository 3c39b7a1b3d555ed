"""What measures by layer share."""
