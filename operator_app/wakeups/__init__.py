"""What ends an operator's sleep early."""

from operator_app.wakeups.base import Wakeup
from operator_app.wakeups.calls import Calls
from operator_app.wakeups.echo import Echo

__all__ = ["Calls", "Echo", "Wakeup"]
