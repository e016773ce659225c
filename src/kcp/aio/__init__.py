"""Domain-free asyncio parts: clocks, supervised tasks, back-off, fan-out, logs. Knows nothing of Kubernetes."""
