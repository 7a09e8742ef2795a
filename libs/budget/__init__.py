"""How long a request may still take, from the edge to the last hop."""

from libs.budget.budget import Budget, adopt, current_budget, spending

__all__ = ["Budget", "adopt", "current_budget", "spending"]
