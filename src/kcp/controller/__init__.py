"""Controllers: informers that mirror a resource, work queues, reconcile loops, commits, leader election.

Before: tenancy, exports, TMC, simulated clusters, and the built-in controllers here. After: `client`. See docs/controllers.md.
"""
