"""The virtual-time test-bed: the planner of the mesh over thousands of simulated requests."""
