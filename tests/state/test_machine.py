"""Whatever happens, and in whatever order it is heard of, the state stays sound and loses no wake-up."""

from hypothesis import settings

from tests.state.machine import Anything

TestAnything = Anything.TestCase
TestAnything.settings = settings(stateful_step_count=30)
