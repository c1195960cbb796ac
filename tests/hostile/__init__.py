"""Inputs written to do harm: one table for each area, used by the tests of that area and through the REST door."""
