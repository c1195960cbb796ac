"""What Millrace does in a second, each figure beside its limit: `python -m benchmarks --help`."""
