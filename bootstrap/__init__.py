"""Settings, logs and the one function that wires a process. The only room that picks plug-ins."""
