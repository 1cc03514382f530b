"""The pages for people: rendered here, with a little JavaScript of our own."""

from fastapi import APIRouter

from service.pages import docs, inspector, jobs, login, marketer, models, review

ROUTERS: tuple[APIRouter, ...] = (
    marketer.router,
    inspector.router,
    jobs.router,
    models.router,
    review.router,
    login.router,
    docs.router,
)
