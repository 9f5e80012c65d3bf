"""The mailbox: bounded, in order, newest wins or the writer waits; errors travel, closing is clean."""

import threading
import time

import pytest

from stream_detect.mailbox import Mailbox, MailboxClosed, wait_for_any


def test_items_come_out_in_order():
    box = Mailbox[int](3)
    assert [box.put(number) for number in (1, 2, 3)] == [0, 0, 0]
    assert [box.take(), box.take(), box.take(), box.take()] == [1, 2, 3, None]


def test_the_newest_wins_and_the_displaced_are_counted():
    box = Mailbox[int](2, newest_wins=True)
    assert [box.put(number) for number in range(5)] == [0, 0, 1, 1, 1]
    assert [box.take(), box.take(), box.take()] == [3, 4, None]


def test_a_full_box_makes_its_writer_wait():
    box = Mailbox[int](1)
    box.put(1)
    with pytest.raises(TimeoutError, match="full"):
        box.put(2, timeout_s=0.02)
    writer = threading.Thread(target=box.put, args=(2,))
    writer.start()
    assert box.take() == 1
    assert box.take(timeout_s=5) == 2
    writer.join()


def test_every_item_arrives_across_threads():
    box = Mailbox[int](2)
    writer = threading.Thread(target=lambda: ([box.put(number) for number in range(500)], box.close()))
    writer.start()
    taken = []
    while not box.is_drained:
        if (item := box.take(timeout_s=1)) is not None:
            taken.append(item)
    writer.join()
    assert taken == list(range(500))


def test_closing_frees_a_waiting_writer():
    box = Mailbox[int](1)
    box.put(1)
    threading.Timer(0.05, box.close).start()
    with pytest.raises(MailboxClosed):
        box.put(2)


def test_an_error_comes_after_the_items_and_once():
    box = Mailbox[int](2)
    box.put(1)
    box.close(OSError("broken"))
    assert not box.is_drained
    assert box.take() == 1
    assert not box.is_drained
    with pytest.raises(OSError, match="broken"):
        box.take()
    assert box.is_drained
    assert box.take() is None


def test_close_twice():
    box = Mailbox[int]()
    box.close(OSError("first"))
    box.close(OSError("second"))
    with pytest.raises(OSError, match="first"):
        box.take()
    assert box.is_closed


def test_one_bell_rings_for_many_boxes():
    bell = threading.Event()
    boxes = [Mailbox[int](1, newest_wins=True, bell=bell) for _ in range(3)]
    assert not wait_for_any(bell, 0.01)
    threading.Timer(0.05, boxes[1].put, args=(7,)).start()
    started_s = time.monotonic()
    assert wait_for_any(bell, 5.0)
    assert time.monotonic() - started_s < 2.0
    assert [box.take() for box in boxes] == [None, 7, None]
    boxes[2].close()
    assert wait_for_any(bell, 0.01)


def test_a_box_needs_room():
    with pytest.raises(ValueError, match="at least 1"):
        Mailbox[int](0)
