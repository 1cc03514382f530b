"""The page on which people look through the fixes that the next model learns from."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from service.jobs.queue import REVIEW
from service.pages.access import PageAdmin
from service.pages.render import render
from service.parts import parts_of
from service.retraining import jobs
from service.retraining.review import left_of

router = APIRouter(include_in_schema=False)


@router.get("/review")
def review(request: Request, identity: PageAdmin) -> HTMLResponse:
    """Show the queue, or what there is to do instead."""
    parts = parts_of(request)
    with parts.database.reads() as session:
        job = jobs.last_retraining(session)
        total, undecided = left_of(session, job.id, identity.advertiser) if job else (0, 0)
        new = jobs.new_fixes(session, identity.advertiser)
    stage = jobs.stage_of(job) if job else ""
    return render(
        request,
        "review.html",
        job=job,
        stage=stage,
        number=jobs.STAGES.index(stage) + 1 if stage in jobs.STAGES else len(jobs.STAGES),
        stages=jobs.STAGES,
        open=job is not None and job.state == REVIEW,
        active=job is not None and job.state in jobs.ACTIVE,
        result=jobs.result_of(job) if job and identity.advertiser is None else None,
        total=total,
        undecided=undecided,
        new=new,
        everybody=identity.advertiser is None,
    )
