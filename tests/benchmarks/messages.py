"""A reporter that keeps its messages."""


class Messages(list[str]):
    """What a benchmark has reported, in order."""

    def say(self, text: str) -> None:
        self.append(text)
