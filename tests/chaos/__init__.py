"""Kills, stops and breaks real processes, and counts what that did to the promises. See `docs/chaos.md`."""
