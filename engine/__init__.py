"""The heart: graph, journal, planner, expressions. Imports no door, no database, no library of a plug-in."""
