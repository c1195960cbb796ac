"""The one guarded way out: every call that a workflow makes to the world passes here."""
