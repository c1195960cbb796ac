"""The REST door: translates HTTP to the engine's use cases and back; decides nothing."""
