#!/usr/bin/env python
"""Runs the commands of the example project."""

import os
import sys


def main() -> None:
    """Hand the command line to Django, with the example's settings unless others are named."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
