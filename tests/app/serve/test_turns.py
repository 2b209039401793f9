"""Turns are taken in the order in which they were asked for."""

import threading

from live import until

from limner.app.serve.turns import Turns


def test_who_waited_longest_is_next():
    turns, order = Turns(), []
    turns.take()

    def ask(name):
        with turns.mine():
            order.append(name)

    threads = []
    for name in "abc":
        threads.append(threading.Thread(target=ask, args=(name,)))
        threads[-1].start()
        until(lambda: len(turns._line) == len(threads))
    turns.give()
    turns.take()  # comes last, though it asks at once
    order.append("again")
    turns.give()
    for thread in threads:
        thread.join()
    assert order == ["a", "b", "c", "again"]


def test_as_many_have_their_turn_at_a_time_as_there_are_places():
    turns, inside = Turns(2), []

    def come():
        turns.take()
        inside.append(1)

    threads = [threading.Thread(target=come) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(inside) == 2 and len(turns._line) == 1)
    turns.give()
    for thread in threads:
        thread.join()
    assert len(inside) == 3
