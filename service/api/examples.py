"""Examples of what is asked and answered, for the interface's description (OpenAPI)."""

ADVERTISER, LABEL, WHO = "dealer_007", "colour", "ana"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
MODEL = "d2c0a1f84a2a4c1fb8f0a3a6ce55b2f59d1b07f0d6c94b87b1c5a40a7be6f413"  # digest
URL, CATALOGUE_PATH = "https://cdn.example.com/cars/1.jpg", "shoes/red/1.jpg"
TARGET, CONTEXT = "open_rate", '{"campaign_type": "Newsletter"}'
ASSIGNMENT, QUESTION = "0f8a6a3cbd0e4f6f9a7d5c1e2b3a4958", "a4EPQV3Gc-4TziyrgEnWeg"
AT, LATER = "2026-11-29T10:15:00Z", "2026-11-29T10:17:30Z"
FIXES_CSV = (
    "advertiser,sha256,image_url,label,value,who,why,at,model_value\n"
    f'{ADVERTISER},{SHA256},{URL},{LABEL},burgundy,{WHO},"red wine, not red",{AT},red\n'
)
OUTCOMES_CSV = f"assignment,successes,trials\n{ASSIGNMENT},212,1000\n"
MANIFEST_CSV = (
    "relative_im_path,campaign_type,augmentation,original,open_rate_successes,open_rate_trials,"
    f"propensity\nimages/{SHA256}.jpeg,Newsletter,brighter,,212,1000,0.98\n"
)

_FIX = {"id": 17, "who": WHO, "why": "red wine, not red", "at": AT}
_TOP = [{"name": "red", "probability": 0.83}, {"name": "brown", "probability": 0.11}]
IMAGE = {
    "sha256": SHA256,
    "width": 1280,
    "height": 960,
    "format": "JPEG",
    "labels": {
        LABEL: {
            "value": "burgundy",
            "source": "fixed",
            "model_value": "red",
            "probability": 0.83,
            "top": _TOP,
            "set": ["red", "brown"],
            "fix": _FIX,
        }
    },
    "ranks": {},
    "decision": None,
    "cached": True,
    "model_digest": MODEL,
    "error": None,
}
CLASSIFY = {"advertiser": ADVERTISER, "model": "cars", "model_digest": MODEL, "images": [IMAGE]}

_ORIGINAL = {
    "probability": 0.186,
    "interval": [0.149, 0.225],
    "difference": 0.0,
    "difference_interval": [0.0, 0.0],
    "lift": 0.0,
    "better": False,
    "name": "original",
    "parameters": [],
    "thumbnail": None,
}
_BRIGHTER = {
    "probability": 0.231,
    "interval": [0.187, 0.279],
    "difference": 0.045,
    "difference_interval": [0.018, 0.073],
    "lift": 0.24,
    "better": True,
    "name": "brighter",
    "parameters": [{"op": "brightness", "params": {"factor": 1.5}}],
    "thumbnail": None,
}
RECOMMENDATION = {
    "schema_version": 3,
    "model": "newsletter",
    "bundle_version": "1.0",
    "engine": "openvino fp32",
    "image": {"sha256": SHA256, "width": 1280, "height": 960, "format": "JPEG"},
    "target": TARGET,
    "direction": "maximize",
    "context": {"campaign_type": "Newsletter"},
    "augmentation": "original",
    "min_lift": 0.0,
    "probability": 0.186,
    "interval": [0.149, 0.225],
    "candidates": [_BRIGHTER, _ORIGINAL],
    "best_candidate": _BRIGHTER,
    "verdict": {
        "kind": "change",
        "choice": "brighter",
        "sends": None,
        "lift": 0.24,
        "text": "Change: brighter",
    },
    "alternates": [],
    "best_alternate": None,
    "alternate_verdict": None,
    "cached": False,
    "timings_ms": {"decode": 6.1, "augment": 2.4, "embed": 11.8, "score": 1.2, "total": 22.7},
    "advertiser": ADVERTISER,
    "sha256": SHA256,
    "model_digest": MODEL,
    "question": QUESTION,
}
CHOICES = {
    "model": "newsletter",
    "model_digest": MODEL,
    "targets": [{"name": TARGET, "direction": "maximize"}],
    "context": [
        {
            "name": "campaign_type",
            "kind": "categorical",
            "values": ["Newsletter", "Promotion"],
            "required": True,
            "low": None,
            "high": None,
        }
    ],
    "product_types": ["shoes"],
    "candidates": ["original", "brighter"],
    "catalogue": 219,
}
QUESTIONS = {
    "questions": [
        {
            "token": QUESTION,
            "advertiser": ADVERTISER,
            "sha256": SHA256,
            "target": TARGET,
            "context": {"campaign_type": "Newsletter"},
            "candidates": ["original", "brighter"],
            "alternates": 5,
            "min_lift": 0.0,
            "who": WHO,
            "at": AT,
        }
    ],
    "next_before": None,
}

BATCH = {
    "id": 3,
    "advertiser": ADVERTISER,
    "state": "running",
    "total": 2,
    "answered": 1,
    "skipped": 0,
    "created_at": AT,
    "finished_at": None,
    "error": "",
}
BATCH_RESULTS = {"items": [{"number": 0, "url": URL, "answer": IMAGE}], "next_after": None}

FIX = {
    "id": 17,
    "advertiser": ADVERTISER,
    "sha256": SHA256,
    "label": LABEL,
    "before": None,
    "after": "burgundy",
    "model_value": "red",
    "who": WHO,
    "why": "red wine, not red",
    "at": AT,
    "undoes": None,
}
UNDONE = FIX | {"id": 18, "before": "burgundy", "after": None, "why": "", "at": LATER, "undoes": 17}
FIXES = {"fixes": [UNDONE, FIX], "next_before_id": None}
IMPORTED = {
    "rows": 3,
    "taken": 1,
    "unchanged": 1,
    "bad": 1,
    "conflicts": 0,
    "bad_rows": [{"row": 4, "reason": "value does not fit: expected the right class, got none"}],
    "conflict_rows": [],
    "dry_run": False,
}

QUEUE = {
    "label": LABEL,
    "pictures": [
        {
            "advertiser": ADVERTISER,
            "sha256": SHA256,
            "value": "red",
            "model_value": "red",
            "probability": 0.41,
            "top": [{"name": "red", "probability": 0.41}, {"name": "brown", "probability": 0.38}],
            "set": ["red", "brown"],
            "model_digest": MODEL,
            "live": True,
            "fix": None,
            "confirmed_by": None,
            "confirmed_at": None,
        }
    ],
    "next_after": None,
}
PROGRESS = {"left": 42, "more": False, "done": 158}
CONFIRMED = {"images": [{"sha256": SHA256, "id": 5, "error": None}]}
CONFIRMATION_UNDONE = {
    "id": 5,
    "advertiser": ADVERTISER,
    "sha256": SHA256,
    "label": LABEL,
    "value": "red",
    "who": WHO,
    "at": AT,
    "undone_by": WHO,
    "undone_at": LATER,
}

_DRAWN = ("name", "parameters", "probability", "interval", "difference", "difference_interval")
ASSIGNED = {
    "id": ASSIGNMENT,
    "advertiser": ADVERTISER,
    "sha256": SHA256,
    "model_digest": MODEL,
    "target": TARGET,
    "direction": "maximize",
    "context": {"campaign_type": "Newsletter"},
    "policy": "thompson",
    "floor": 0.02,
    "version": 1,
    "seed": 6093080403813260,
    "candidates": [
        {name: _BRIGHTER[name] for name in _DRAWN} | {"propensity": 0.98},
        {name: _ORIGINAL[name] for name in _DRAWN} | {"propensity": 0.02},
    ],
    "recommended": "brighter",
    "choice": "brighter",
    "propensity": 0.98,
    "unit": "list 7",
    "who": "mailer",
    "at": AT,
}
OUTCOME = {
    "assignment": ASSIGNMENT,
    "target": TARGET,
    "report": "1",
    "successes": 212,
    "trials": 1000,
    "replaces": None,
    "who": "mailer",
    "at": LATER,
}
ASSIGNMENT_HISTORY = {
    "assignment": ASSIGNED,
    "replay": {"same": True, "choice": "brighter", "propensities": [0.98, 0.02]},
    "outcomes": [OUTCOME],
}
REPORTED = {
    "added": 1,
    "known": 0,
    "refused": 0,
    "results": [{"state": "added", "outcome": OUTCOME, "error": None}],
}
REPORTED_CSV = {"added": 1, "known": 0, "refused": 0, "errors": []}

CONFIGURED = {
    "advertiser": ADVERTISER,
    "values": [{"label": LABEL, "value": "red", "who": WHO, "at": AT}],
}

ANSWERS = {  # of the operations that programs use, by method and path
    "POST /v1/classify": CLASSIFY,
    "POST /v1/recommend": RECOMMENDATION,
    "GET /v1/recommend/options": CHOICES,
    "GET /v1/questions": QUESTIONS,
    "POST /v1/batches": BATCH,
    "GET /v1/batches/{job_id}": BATCH,
    "GET /v1/batches/{job_id}/results": BATCH_RESULTS,
    "POST /v1/fixes": FIX,
    "POST /v1/fixes/{fix_id}/undo": UNDONE,
    "GET /v1/fixes": FIXES,
    "POST /v1/fixes/import": IMPORTED,
    "GET /v1/queue": QUEUE,
    "GET /v1/configured": CONFIGURED,
    "PUT /v1/configured": CONFIGURED,
    "GET /v1/queue/progress": PROGRESS,
    "POST /v1/confirmations": CONFIRMED,
    "POST /v1/confirmations/{review_id}/undo": CONFIRMATION_UNDONE,
    "GET /v1/assignments": ASSIGNED,
    "GET /v1/assignments/{key}": ASSIGNMENT_HISTORY,
    "POST /v1/outcomes": REPORTED,
    "POST /v1/outcomes/csv": REPORTED_CSV,
}
