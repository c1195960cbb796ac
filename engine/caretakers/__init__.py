"""What an engine does beside running tasks: one duty per file, each a coroutine that a caretaker's loop calls."""
