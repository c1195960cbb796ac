"""WHERE other people's Python runs: one file per way, each with a module-level `open_runner`."""
