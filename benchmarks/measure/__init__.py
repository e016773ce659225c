"""What the benchmarks of whole programs share: real processes, wrk, a plain client and a report."""
