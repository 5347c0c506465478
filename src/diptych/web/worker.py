"""The one thread that runs the networks; pictures of one size share a batch."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from diptych.data.pixels import Pixels
from diptych.sides import Side, other_side
from diptych.training.samples import Translated
from diptych.translation.at_once import at_once
from diptych.translation.strength import at_strength
from diptych.translation.translator import Translator


@dataclass(eq=False)
class Order:
    """One picture to translate; ``done`` gets what became of it, or an error."""

    translator: Translator
    to: Side
    back: bool
    picture: Pixels
    strength: float = 1.0
    done: Future[Translated] = field(default_factory=Future)
    given_up: bool = False  # nobody waits for it any more

    def goes_with(self, other: Order) -> bool:
        """Whether both can be in one batch."""
        return (
            self.translator is other.translator
            and (self.to, self.back, self.strength) == (other.to, other.back, other.strength)
            and self.picture.shape == other.picture.shape
        )


class GivenUpError(Exception):
    """Nobody waits for what is being translated."""


# Told of each batch: how many pictures, and how many seconds it took.
OnBatch = Callable[[int, float], None]


class Worker:
    """Fills orders, the oldest first, with those that fit into the same batch."""

    def __init__(self, batch: int, on_batch: OnBatch) -> None:
        self.batch = batch
        self.on_batch = on_batch
        self.orders: deque[Order] = deque()
        self.changed = threading.Condition()
        self.closing = False
        self.thread = threading.Thread(target=self._run, name="diptych networks", daemon=True)
        self.thread.start()

    def submit(self, order: Order) -> Future[Translated]:
        """Put an order in line. Cancelling the future takes it out again, unless it has begun."""
        with self.changed:
            self.orders.append(order)
            self.changed.notify()
        return order.done

    def close(self) -> bool:
        """End the thread; orders that have not begun are cancelled.

        False if it is still busy with a batch that nobody waits for, which ends with the process.
        """
        with self.changed:
            self.closing = True
            for order in self.orders:
                order.done.cancel()
            self.orders.clear()
            self.changed.notify()
        self.thread.join(timeout=5)
        return not self.thread.is_alive()

    def _run(self) -> None:
        while batch := self._next_batch():
            started = time.perf_counter()
            self._translate(batch)
            self.on_batch(len(batch), time.perf_counter() - started)

    def _next_batch(self) -> list[Order]:
        """The oldest order and those that go with it; none when closing."""
        with self.changed:
            while True:
                self.changed.wait_for(lambda: self.orders or self.closing)
                if self.closing:
                    return []
                first = self.orders[0]
                most = at_once(first.translator, first.picture.shape, self.batch)
                chosen = [order for order in self.orders if order.goes_with(first)][:most]
                for order in chosen:
                    self.orders.remove(order)
                # (Nobody waits any longer for those that were cancelled.)
                batch = [one for one in chosen if one.done.set_running_or_notify_cancel()]
                if batch:
                    return batch

    def _translate(self, batch: list[Order]) -> None:
        try:
            made = translate_batch(batch)
        except Exception as error:  # out of memory, mostly
            if len(batch) == 1 or isinstance(error, GivenUpError):
                for order in batch:
                    order.done.set_exception(error)
                return
            for order in batch:
                self._translate([order])
            return
        for order, translation in zip(batch, made, strict=True):
            order.done.set_result(translation)


def translate_batch(batch: list[Order]) -> list[Translated]:
    """Translate pictures of one shape, and back where asked for, in one batch.

    Raises GivenUpError where nobody waits for any of them.
    """
    translator, to = batch[0].translator, batch[0].to

    def look(share: float) -> None:
        if all(order.given_up for order in batch):
            raise GivenUpError

    recs: list[Pixels | None] = [None] * len(batch)
    networks = set.union(*(way.networks for way in translator.way_to.values()))
    with at_strength(networks, batch[0].strength):
        fakes = translator.arrays([order.picture for order in batch], to, look)
        if batch[0].back and translator.pair.back_from(to) is not None:
            recs = list(translator.arrays(fakes, other_side(to), look))
    return [
        Translated(one.picture, fake, rec)
        for one, fake, rec in zip(batch, fakes, recs, strict=True)
    ]
