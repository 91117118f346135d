"""What works on this machine, and how fast."""
