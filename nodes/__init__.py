"""WHAT a task does: one file per node type, each with a module-level `handler`."""
