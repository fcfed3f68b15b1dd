"""What ends an operator's sleep early."""

from operator_app.wakeups.base import Wakeup

__all__ = ["Wakeup"]
