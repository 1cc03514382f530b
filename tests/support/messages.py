"""A reporter that keeps its messages."""

from augrank.reporting import NullReporter


class Messages(NullReporter):
    """The messages of a benchmark, in order."""

    def __init__(self):
        self.texts: list[str] = []

    def say(self, text, *, style="plain"):
        self.texts.append(text)
