"""The routes for programs: JSON, under /v1."""

from service.api import (
    assignments,
    batches,
    classify,
    health,
    images,
    jobs,
    models,
    openapi,
    outcomes,
    pictures,
    recommend,
    retraining,
)
from service.api.fixes import configured, exchange, history, queue

ROUTERS = tuple(
    module.router
    for module in (
        classify,
        recommend,
        pictures,
        exchange,
        history,
        queue,
        configured,
        images,
        batches,
        jobs,
        assignments,
        outcomes,
        retraining,
        models,
        health,
        openapi,
    )
)
