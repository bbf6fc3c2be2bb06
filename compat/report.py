"""Named cases, a line for each, and an exit status."""

import contextlib
import sys
import time
import traceback


class Report:
    def __init__(self, name: str):
        self.name = name
        self.passed, self.failures, self.left_out = 0, [], []

    @contextlib.contextmanager
    def case(self, name: str):
        """A case passes if nothing is raised inside. The next one runs in either case."""
        begin = time.monotonic()
        try:
            yield
        except Exception as error:
            self.failures.append(name)
            lines = str(error).strip().splitlines() or [""]
            where = traceback.extract_tb(error.__traceback__)[-1]
            for frame in traceback.extract_tb(error.__traceback__):
                if frame.filename == sys.argv[0]:
                    where = frame
            print(f"FAILED  {name}: {type(error).__name__}: {lines[0][:600]} (line {where.lineno}: {where.line})", flush=True)
        else:
            self.passed += 1
            print(f"ok      {name} ({time.monotonic() - begin:.1f} s)", flush=True)

    def skipped(self, name: str, reason: str):
        """A case that does not apply."""
        self.left_out.append(name)
        print(f"left    {name}: {reason}", flush=True)

    def end(self):
        """Prints the sum and ends the program: 0 if all is well, else 1."""
        text = f"{self.name}: {self.passed} passed, {len(self.failures)} failed, {len(self.left_out)} left out"
        print(text + (f" (failed: {'; '.join(self.failures)})" if self.failures else ""), flush=True)
        sys.exit(1 if self.failures or not self.passed else 0)
