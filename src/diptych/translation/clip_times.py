"""When the pictures and sounds of a video are due, whatever the clock of its file says."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet

BACK = Fraction(1, 2)  # seconds: a clock that goes back farther has started anew
AHEAD = Fraction(10)  # seconds, the same for leaps ahead (as FFmpeg's own program has it)


class Times:
    """Moves packets in time: the video begins at 0, and goes on where the clock starts anew.

    Recordings of broadcasts count from anywhere, and clips that were joined byte by byte, as
    camcorders split them, start again in the middle. ``start`` is where the file begins, in
    seconds; ``leaps``: its kind of file may leap ahead too.
    """

    def __init__(self, start: Fraction, leaps: bool) -> None:
        self.reached = Fraction(0)  # seconds: the end of all that has been moved
        self.started_anew = False
        self._leaps = leaps
        self._shift = -start  # of what the clock says, since its last new start
        self._shifts: dict[int, Fraction] = {}  # of each stream: they start anew one by one
        self._last: dict[int, Fraction] = {}  # the latest time at which one of each is decoded

    def move(self, packet: Packet[Any]) -> bool:
        """Set the times of ``packet``; returns whether it is later than those of its stream before.

        A packet without times stays so.
        """
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            return True
        stream, unit = packet.stream.index, packet.time_base
        clock = stamp * unit
        shift = self._shifts.get(stream, self._shift)
        if not self._fits(stream, clock + shift):
            if not self._fits(stream, clock + self._shift):  # the first stream that starts anew
                shown = stamp if packet.pts is None else packet.pts
                self._shift = self.reached - shown * unit
                self.started_anew = True
            shift = self._shift
        self._shifts[stream] = shift
        units = round(shift / unit)
        packet.dts = None if packet.dts is None else packet.dts + units
        packet.pts = None if packet.pts is None else packet.pts + units
        now = (stamp + units) * unit
        later = stream not in self._last or now > self._last[stream]
        self._last[stream] = now if later else self._last[stream]
        if packet.pts is not None:
            self.reached = max(self.reached, (packet.pts + (packet.duration or 0)) * unit)
        return later

    def _fits(self, stream: int, now: Fraction) -> bool:
        follows = now >= self._last.get(stream, now) - BACK
        return follows and (not self._leaps or now <= self.reached + AHEAD)
