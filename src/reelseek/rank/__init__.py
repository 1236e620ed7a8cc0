"""Rankings, metrics and comparisons of runs; knows nothing about models."""
