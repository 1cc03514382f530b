"""The routes for programs: JSON, under /v1."""

from service.api import batches, classify, fixes, health

ROUTERS = tuple(module.router for module in (classify, fixes, batches, health))
