"""The Context that TorchServe gives a worker's handler, with metrics that are kept."""

from ts.context import Context, RequestProcessor


class Metrics:
    def __init__(self):
        self.times = []

    def add_time(self, name, value, idx=None, unit="ms"):
        self.times.append((name, value, idx))


def make_context(model_dir, headers):
    context = Context("tiny", str(model_dir), {}, 8, None, "0.12", metrics=Metrics())
    context.request_processor = [RequestProcessor(header) for header in headers]
    return context
