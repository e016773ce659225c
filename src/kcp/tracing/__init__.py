"""Traces: which spans are recorded and what belongs together (`tracer`, `revisions`), and how they leave the process (`exporting`).

OpenTelemetry is imported by `exporting` alone, and that only where tracing is on.
"""
