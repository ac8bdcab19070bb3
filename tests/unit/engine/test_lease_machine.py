"""The lease and attempt tables, walked."""

from __future__ import annotations

from typing import get_args

import pytest

from orchestrator import lease
from orchestrator.models import AttemptState, LeaseState
from orchestrator.store.rows import OPEN_ATTEMPT, OPEN_LEASE


def reachable(table: dict[str, dict[str, str]], start: str) -> set[str]:
    found, todo = {start}, [start]
    while todo:
        for state in table[todo.pop()]:
            if state not in found:
                found.add(state)
                todo.append(state)
    return found


def test_every_state_is_in_the_table_and_can_be_reached() -> None:
    assert set(lease.TRANSITIONS) == set(get_args(LeaseState)) == reachable(lease.TRANSITIONS, "planned")
    assert set(lease.ATTEMPT_TRANSITIONS) == set(get_args(AttemptState))
    assert reachable(lease.ATTEMPT_TRANSITIONS, "intent") == set(get_args(AttemptState))


def test_every_state_can_end() -> None:
    for state in lease.TRANSITIONS:
        assert {"ended", "failed"} & reachable(lease.TRANSITIONS, state), state
    for state in lease.ATTEMPT_TRANSITIONS:
        assert "closed" in reachable(lease.ATTEMPT_TRANSITIONS, state), state


def test_final_states_have_no_way_out_and_are_not_open() -> None:
    finals = {state for state, out in lease.TRANSITIONS.items() if not out}
    assert finals == {"ended", "failed"} == set(get_args(LeaseState)) - set(OPEN_LEASE)
    assert set(get_args(AttemptState)) - set(OPEN_ATTEMPT) == {"closed"}


def test_every_edge_says_why() -> None:
    for table in (lease.TRANSITIONS, lease.ATTEMPT_TRANSITIONS):
        assert all(why for edges in table.values() for why in edges.values())


def test_an_illegal_edge_is_an_assertion() -> None:
    lease.check("planned", "planned")
    with pytest.raises(lease.IllegalTransition):
        lease.check("ended", "running")
    with pytest.raises(lease.IllegalTransition):
        lease.check_attempt("closed", "live")
