"""The settings of the tests, with the operations of the benchmarks."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as TESTED

INSTALLED_APPS = [*TESTED, "benchmarks"]
