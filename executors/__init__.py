"""WHERE a task runs: one file per strategy, each with a module-level `open_executor`."""
