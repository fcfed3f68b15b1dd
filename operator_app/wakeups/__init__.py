"""What ends an operator's sleep early."""

from operator_app.wakeups.base import Wakeup
from operator_app.wakeups.postgresql import Listener

__all__ = ["Listener", "Wakeup"]
