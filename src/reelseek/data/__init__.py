"""Benchmarks and folders, read into `reelseek.data.pairs.Pairs`."""
