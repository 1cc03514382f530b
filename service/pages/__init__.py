"""The pages for people: rendered here, with a little JavaScript of our own."""

from fastapi import APIRouter

ROUTERS: tuple[APIRouter, ...] = ()
