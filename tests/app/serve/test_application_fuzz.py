"""Whatever the OpenAPI document allows, and what it does not, is answered without a failure of the server.

The minutes-long test makes 2,000 cases, half of which break the document's rules; the quick one makes a few of each.
"""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

NEEDED = {"prompt", "messages", "image"}


def answers(served, cases, seen):
    """Add the statuses of at least so many cases, of all operations and in both modes, to those that were seen."""
    document = schemathesis.openapi.from_url(f"{served.base}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    ways = [
        (operation, mode)
        for operation in operations
        for mode in GenerationMode
        # only a body can be wrong: any path is a name
        if mode == GenerationMode.POSITIVE or operation.body
    ]
    rich = sum(bool(operation.body) for operation, _ in ways)  # the others have a case or two
    for operation, mode in ways:

        @settings(
            max_examples=1 + cases // rich if operation.body else 5,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode), st.randoms(use_true_random=False))
        def ask(case, chance):
            if isinstance(case.body, dict) and chance.random() < 0.7:  # else one wrong field of thirty hides the rest
                case.body = {key: case.body[key] for key in case.body if key in NEEDED or chance.random() < 0.15}
            told = case.call(base_url=served.base, timeout=300)
            seen.append(told.status_code)
            assert told.status_code < 500, told.text
            if told.status_code >= 400 and told.request.method != "HEAD":
                assert set(told.json()["error"]) == {"message", "type", "param", "code"}

        ask()


@pytest.mark.parametrize("cases", [12, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])])
def test_nothing_that_is_sent_makes_the_server_fail(served, cases):
    seen = []
    answers(served, cases, seen)
    assert len(seen) >= cases and {200, 400} <= set(seen)
