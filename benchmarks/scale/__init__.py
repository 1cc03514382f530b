"""What bulk scoring costs past one machine: measured rates, and a simulation of a Ray cluster."""
