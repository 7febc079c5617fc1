"""SIGINT and SIGTERM end a command with one line that says how to go on, and exit code 130 or 143.

Nothing but the standard library is imported here, so that a command can listen before anything else is loaded.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import weakref

_SECONDS_IN_C = 2  # a library that does not return to Python for longer, as one large step of a training, is left there
_SECONDS_TO_CLEAN_UP = 10
_SECONDS_AT_EXIT = 1
_IMPORTING = "<frozen importlib._bootstrap>"


class Interrupted(BaseException):
    """Raised where the program is when a signal arrives; no `except Exception` takes it for an error of a volume."""


class _Listener:
    """The state of a command: which signal came, and what to say."""

    def __init__(self, program):
        self.program, self.number, self.how_to_go_on, self.said = program, None, "run it again", False
        self.errors = os.dup(2)  # standard error itself, which is turned away while TensorFlow greets
        self.raised, self.seen, self.over = None, threading.Event(), threading.Event()
        arrivals, self.arrived = os.pipe()
        os.set_blocking(self.arrived, False)
        self.thread = threading.Thread(target=self._watch, args=(arrivals,), daemon=True)

    def __call__(self, number, frame):
        self.number = self.number or number
        self.seen.set()
        if self.raised is not None and self.raised() is not None:  # the first one is at work
            return
        if _is_importing(frame):  # a library in C that is half loaded may not survive an error; nothing is open yet
            self.end()
        raise self._interrupted()

    def _interrupted(self):
        error = Interrupted()
        self.raised = weakref.ref(error)
        return error

    def _watch(self, arrivals):
        """Whether the signal ends the program, which a library may prevent: by staying in C, or with the error."""
        with os.fdopen(arrivals, "rb", 0) as numbers:
            number = next((byte[0] for byte in iter(lambda: numbers.read(1), b"") if byte[0] in _NUMBERS), None)
            if number is None:
                return
            self.number = self.number or number
            if self.seen.wait(_SECONDS_IN_C):
                for _ in range(2 * _SECONDS_TO_CLEAN_UP):
                    if self.over.wait(0.5):
                        return
                    if self.raised is not None and self.raised() is None:  # as one within `__del__` or a callback of C
                        signal.pthread_kill(threading.main_thread().ident, number)
            if not self.over.is_set():
                self.end()

    def line(self):
        return f"{self.program}: ended by {signal.Signals(self.number).name}; to go on, {self.how_to_go_on}\n"

    def say(self):
        if not self.said:
            self.said = True
            print(self.line(), end="", file=sys.stderr, flush=True)

    def end(self):
        """End at once, whatever the other threads do."""
        if not self.said:
            self.said = True
            with contextlib.suppress(OSError):
                os.write(self.errors, self.line().encode())
        _leave(128 + self.number)


_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_listeners = []
_at_end = []


@contextlib.contextmanager
def one_line_for_signals(program):
    """A block that SIGINT and SIGTERM end, and with it the process, with one line and exit code 128 plus their number.

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
    listener.thread.start()
    wakeup = signal.set_wakeup_fd(listener.arrived, warn_on_full_buffer=False)
    for number in _NUMBERS:
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
        listener.over.set()
        _listeners.clear()
        signal.set_wakeup_fd(wakeup)
        os.close(listener.arrived)
        os.close(listener.errors)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
    if listener.number is not None:  # a library may even have swallowed it
        listener.say()
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        _leave(128 + listener.number, atexit._run_exitfuncs)


def raise_if_interrupted():
    """Raise again what a library has made another error of, for an `except` that would take it for an error of data.

    Raises:
        Interrupted: if a signal came.
    """
    for listener in _listeners:
        if listener.number is not None:
            raise listener._interrupted()


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


def at_end(function):
    """Call a function at the end of the process, and also where a signal ends it in the midst of a library's work."""
    atexit.register(function)
    _at_end.append(function)
    return function


def not_at_end(function):
    """Take back `at_end`."""
    atexit.unregister(function)
    _at_end[:] = [other for other in _at_end if other != function]


def _call_at_end():
    for function in list(_at_end):
        with contextlib.suppress(Exception):
            function()


def _leave(code, at_exit=_call_at_end):
    """End the process without collecting what a training leaves, which takes TensorFlow seconds."""
    thread = threading.Thread(target=at_exit, daemon=True)  # nothing may hold up the end
    thread.start()
    thread.join(_SECONDS_AT_EXIT)
    os._exit(code)


def _forget():
    """A signal to a fork is none to the program."""
    if _listeners:
        signal.set_wakeup_fd(-1)
        for number in _NUMBERS:
            signal.signal(number, signal.SIG_DFL)
        _listeners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
