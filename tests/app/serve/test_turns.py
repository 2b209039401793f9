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
