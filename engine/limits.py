"""Every bound in one place. A refusal names the bound; nothing is truncated."""

PAYLOAD = 1024 * 1024
"""Bytes of one input, output, signal payload or rendered config, as JSON."""
DOCUMENT = 2 * 1024 * 1024
"""Bytes of one request body or definition."""
DEPTH = 64
"""Levels of nesting in a document or value."""
NODES = 100_000
"""Values (containers and scalars) in a document."""
TASKS = 10_000
"""Tasks in one workflow."""
ITEMS = 10_000
"""Items of one map, and rounds of one loop."""
PARALLEL = 1_000
"""Items of one map that are open at once."""
HISTORY = 50_000
"""Events of one execution."""
WHOLE_HISTORY = HISTORY + 20 * TASKS
"""Events that an execution can have at the most: its limit, the end of each task in the step that passes it, and the
compensation of each with as many losses as it may have.
"""
NAME = 200
"""Characters of a name or key."""
DESCRIPTION = 10_000
"""Characters of a description."""
TEMPLATE = 64 * 1024
"""Characters of one template string."""
EXPRESSION = 10_000
"""Parts (tokens, or values in JSONLogic) of one expression."""
PARTS = 100_000
"""Parts of all expressions of one workflow; paths that stand alone do not count."""
STEPS = 250_000
"""Steps that the expressions of one task may make: a third of a second at the very most."""
ID = 2**53 - 1
"""The largest id that doors speak of: every JSON parser holds it."""
MAX_INTEGER = 2**63 - 1
MIN_INTEGER = -(2**63)
COST, TOKENS = 1e12, 2**53
"""The most that a budget allows; numbers beyond are not exact."""
DEPTH_OF_CHILDREN = 32
"""Executions below one that has no parent."""
WAIT = 60.0
"""Seconds that a start may wait for the result."""
DURATION = 366 * 24 * 3600.0
"""Seconds of the longest timer."""
PAGE = 1000
"""Rows of one list page."""
IDEMPOTENCY_KEY = 255
"""Characters of an idempotency key."""
CONCURRENCY = 1_000_000
"""Tasks that may share a concurrency key or a workflow's bound."""
TRIGGERS = 100
"""Triggers of one workflow."""
EVENT_CHAIN = 32
"""Events that may lead to one another, each published by an execution that the one before it started."""
LABELS = 32
"""Labels on one execution."""
