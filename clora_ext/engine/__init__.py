"""The algorithm over a port that hosts meet; knows no host."""
