"""The deck: every image once, and always a way back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from curator.review.session import Deck, Step


def test_forward_and_back() -> None:
    deck = Deck()
    assert deck.current is None
    assert deck.back() is None
    deck.add([5, 3, 5])
    assert deck.current == 5
    deck.settle(11)
    deck.settle(None)
    assert deck.current is None
    assert deck.decided == 1
    deck.add([3, 5, 9])
    assert deck.current == 9
    assert deck.back() == Step(3, None)
    assert deck.current == 3
    assert deck.back() == Step(5, 11)
    assert deck.decided == 0
    assert deck.current == 5
    deck.drop()
    assert deck.current == 3
    assert deck.back() is None


ACTIONS = st.lists(st.sampled_from(["decide", "skip", "back"]), max_size=60)


@given(st.lists(st.integers(0, 30), max_size=30), ACTIONS)
def test_nothing_is_lost_and_nothing_comes_twice(ids: list[int], actions: list[str]) -> None:
    """Whatever is done, dealt-with and coming images together are those added, in order."""
    deck = Deck()
    deck.add(ids)
    order = list(dict.fromkeys(ids))
    done: list[Step] = []
    for number, action in enumerate(actions):
        if action == "back":
            assert deck.back() == (done.pop() if done else None)
        elif deck.current is not None:
            done.append(Step(deck.current, number if action == "decide" else None))
            deck.settle(done[-1].event_id)
        assert [step.image_id for step in done] == order[: len(done)]
        assert deck.current == (order[len(done)] if len(done) < len(order) else None)
        assert deck.decided == sum(step.event_id is not None for step in done)
