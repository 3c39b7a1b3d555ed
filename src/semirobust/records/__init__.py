"""Every number with its unit, interval and origin, as lines of JSON."""
