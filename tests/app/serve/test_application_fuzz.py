"""Whatever the OpenAPI document allows, and what it does not, is answered without a failure of the server.

The minutes-long test makes 2,000 cases, half of which break the document's rules; the quick one makes a few of each.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode


def answers(served, cases, seen):
    """Add the statuses of so many cases, spread over all operations and both modes, to those that were seen."""
    document = schemathesis.openapi.from_url(f"{served.base}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    ways = [(operation, mode) for operation in operations for mode in GenerationMode if _can_break(operation, mode)]
    for operation, mode in ways:

        @settings(
            max_examples=-(-cases // len(ways)),
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def ask(case):
            told = case.call(base_url=served.base, timeout=300)
            seen.append(told.status_code)
            assert told.status_code < 500, told.text
            if told.status_code >= 400 and told.request.method != "HEAD":
                assert set(told.json()["error"]) == {"message", "type", "param", "code"}

        ask()


def _can_break(operation, mode):
    """Whether there is anything in an operation that could break its rules: a body (any path is a name)."""
    return mode == GenerationMode.POSITIVE or bool(operation.body)


@pytest.mark.parametrize("cases", [12, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])])
def test_nothing_that_is_sent_makes_the_server_fail(served, cases):
    seen = []
    answers(served, cases, seen)
    assert len(seen) >= cases * 0.9, "hypothesis may find no more different cases of small operations"
    assert {200, 400} <= set(seen) and 500 not in seen
