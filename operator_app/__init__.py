"""A database-backed operation scheduler for Django.

Importable before the app registry is ready; the models are in `operator_app.models`.
"""

from operator_app.backoff import Backoff
from operator_app.breaker import CircuitBreaker
from operator_app.policy import Policy
from operator_app.recurring import Recurring

__all__ = ["Backoff", "CircuitBreaker", "Policy", "Recurring", "__version__"]

__version__ = "0.1.0"
