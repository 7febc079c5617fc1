"""SIGINT and SIGTERM end a command with one line that says how to go on, and exit code 130 or 143.

Nothing but the standard library is imported here, so that a command can listen before anything else is loaded.
"""

import contextlib
import os
import signal
import sys
import threading

_PATIENCE = 10  # seconds for what cleans up, and for a library that does not return to Python
_IMPORTING = "<frozen importlib._bootstrap>"


class Interrupted(BaseException):
    """Raised where the program is when a signal arrives; no `except Exception` takes it for an error of a volume."""


class _Listener:
    """The state of a command: which signal came, and what to say."""

    def __init__(self, program):
        self.program, self.number, self.how_to_go_on, self.said = program, None, "run it again", False
        self.timer = None
        self.errors = os.dup(2)  # standard error itself, which is turned away while TensorFlow greets

    def __call__(self, number, frame):
        if self.number is not None:  # the first one is at work
            return
        self.number = number
        if _is_importing(frame):  # a library in C that is half loaded may not survive an error; nothing is open yet
            self.end()
        self.timer = threading.Timer(_PATIENCE, self.end)
        self.timer.daemon = True
        self.timer.start()
        raise Interrupted

    def line(self):
        return f"{self.program}: ended by {signal.Signals(self.number).name}; to go on, {self.how_to_go_on}\n"

    def say(self):
        if not self.said:
            self.said = True
            print(self.line(), end="", file=sys.stderr, flush=True)

    def end(self):
        """End at once, whatever the other threads do."""
        if not self.said:
            with contextlib.suppress(OSError):
                os.write(self.errors, self.line().encode())
        os._exit(128 + self.number)


_listeners = []


@contextlib.contextmanager
def one_line_for_signals(program):
    """A block that SIGINT and SIGTERM end with one line and exit code 128 plus their number.

    Within another such block, and outside the main thread, it changes nothing. A signal that was set to be ignored
    before, as by ``nohup`` or for a job in the background, is ignored.

    Args:
        program: name for the line.
    """
    if _listeners or threading.current_thread() is not threading.main_thread():
        yield
        return
    listener, before, hook = _Listener(program), {}, sys.unraisablehook
    sys.unraisablehook = lambda found: None if found.exc_type is Interrupted else hook(found)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, listener)
    _listeners.append(listener)
    try:
        yield
    except BaseException:
        if listener.number is None:
            raise
        # Whatever a library made of the interruption on its way here.
    finally:
        _listeners.clear()
        if listener.timer is not None:
            listener.timer.cancel()
        os.close(listener.errors)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
    if listener.number is not None:  # a library may even have swallowed it
        listener.say()
        sys.exit(128 + listener.number)


def to_go_on(text):
    """Say what goes on after a signal from here on, as "run it again with --resume"."""
    for listener in _listeners:
        listener.how_to_go_on = text


def _is_importing(frame):
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False
