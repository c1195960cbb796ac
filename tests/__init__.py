"""Behaviour, on real servers. `unit` needs none; `conformance`, `integration` and `acceptance` start what they need."""
