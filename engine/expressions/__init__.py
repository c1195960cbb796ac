"""Templates: `{{input.x}}` and `{{tasks.key.output.y}}` in any parameter, compiled once to closures."""
