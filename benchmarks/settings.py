"""The settings of the tests, with the operations of the benchmarks in place of the tests' own.

An operator is measured in a project with the admin and one small app.
"""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as TESTED

INSTALLED_APPS = [*(app for app in TESTED if not app.startswith("tests.")), "benchmarks"]
