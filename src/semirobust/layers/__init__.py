"""What can be said about, or done to, the layers of any module."""
