"""`manage.py serve`: the admin, an operator, and customers that keep it busy."""

import random
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management import BaseCommand, CommandError

from example_project.demo import bustle, database, display, processes
from example_project.demo.partners import partners


class Command(BaseCommand):
    """Serves the demo's database until Ctrl-C."""

    help = "Serve the admin beside a running operator, and keep both busy."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the address of the admin, as `runserver` does."""
        parser.add_argument("address", nargs="?", default="127.0.0.1:8000", help="host:port")

    def handle(self, *args: Any, address: str, no_color: bool, **options: Any) -> None:
        """Serve until Ctrl-C or SIGTERM. CommandError if the server or the operator ends itself."""
        processes.exit_on_signals()
        console = display.console(no_color=no_color)
        with database.reserved():
            database.fill()
            console.print(f"\n[bold]http://{address}/admin/[/bold]  (Ctrl-C ends)")
            console.print(f"log in as {database.LOGIN} / {database.PASSWORD}\n")
            try:
                serve(address)
            except KeyboardInterrupt:
                console.print("\nClosed.")
                sys.exit(0)


def serve(address: str) -> None:
    """Run the server and an operator, and let something happen every few seconds.

    Raises:
        CommandError: when one of the two has ended.
    """
    with (
        partners(trouble=lambda call: random.random() < 0.3) as server,
        processes.running("operator", partners_url=server.url) as operator,
        processes.running(
            "runserver", "--noreload", "--skip-checks", address, partners_url=server.url
        ) as web,
    ):
        bustle.clockwork()
        bustle.newcomer()
        while True:
            for command, process in (("operator", operator), ("runserver", web)):
                if process.poll() is not None:
                    raise CommandError(f"{command} ended with code {process.returncode}.")
            time.sleep(3)
            bustle.something()
