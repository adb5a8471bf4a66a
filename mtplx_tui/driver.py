"""Textual's driver of a terminal: takes any bytes, goes on only after it was stopped, knows how large it is now.

Textual's reader of keys ends, and the app with it, at a byte that is no UTF-8: a paste out of an old file,
or a line with noise on it. Such bytes are replaced here, and what was typed or pasted around them stays.

A terminal that is taken away sends SIGCONT after SIGHUP, and anybody may send it. Textual then
starts its threads a second time; the first ones outlive the app, and one spins on a terminal that
is gone.

While a window is pulled at, signals come one upon the other: a handler is interrupted by the next once
it has asked for the size, and tells its own, which is older, last. So the size is asked for again when
its turn has come.
"""

from __future__ import annotations

import codecs
import os
import select

from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Resize
from textual.geometry import Size

__all__ = ["Driver"]

READ_S = 0.1
"""Between two looks whether the app ends, or a lone escape was meant as one."""
READ_BYTES = 4096


class Driver(LinuxDriver):
    """See the module."""

    def newest(self, event: Resize) -> Resize:
        """Return a change of size with the size that the terminal has by now."""
        size = Size(*self._get_terminal_size())
        return event if event.size == size else Resize(size, size)

    def run_input_thread(self) -> None:
        """Read keys until the app ends, or the terminal does."""
        parser = XTermParser(self._debug)
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while not self.exit_event.is_set():
            if select.select([self.fileno], [], [], READ_S)[0]:
                read = os.read(self.fileno, READ_BYTES)
                if not read:
                    return  # the terminal is gone, and so will be the app
                for event in parser.feed(decoder.decode(read)):
                    self.process_message(event)
            for event in parser.tick():
                self.process_message(event)

    def _sigcont_application(self, *_: object) -> None:
        if self._must_signal_resume:
            super()._sigcont_application()
