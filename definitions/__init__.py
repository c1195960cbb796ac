"""HOW a workflow is written: one file per dialect, each with a module-level `dialect`, all to one `Graph`."""
