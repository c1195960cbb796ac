"""One file per benchmark, each with a module-level `benchmark`."""
