"""Which node may carry a task, as far as the node itself decides: labels, role, platform, size.

The scheduler asks before it places, the orchestrator for global services and to enforce, and both
must agree; they do not import one another, so the answer lives here.
"""
