"""What every benchmark uses: load generation, statistics, the machine, Markdown."""
