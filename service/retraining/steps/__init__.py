"""What needs the processor: each step reads a request and writes a result, in its own process."""
