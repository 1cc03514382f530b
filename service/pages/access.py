"""Who may see a page: dependencies of page routes, as those of ``api/common.py`` are of the API's.

@router.get("/jobs")
def jobs(request: Request, identity: PageReader) -> HTMLResponse: ...
"""

from typing import Annotated

from fastapi import Depends

from service.access.identity import Identity, admin, corrector, reader

PageReader = Annotated[Identity, Depends(reader)]
PageCorrector = Annotated[Identity, Depends(corrector)]
PageAdmin = Annotated[Identity, Depends(admin)]
