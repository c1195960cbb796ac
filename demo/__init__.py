"""`make demo`: the main job in one process, told through the doors that its user would use."""
