"""Names and lengths of a request's fields, which a manifest's context columns must fit."""

MAX_TEXT = 200  # characters of a field's name or value; the answer repeats them
IMAGE_PARTS = ("image", "data", "body")  # multipart names of the image, in order of preference
# Fields that are options, and so cannot be context.
RESERVED = frozenset(
    (
        *IMAGE_PARTS,
        "target",
        "context",
        "candidates",
        "alternates",
        "thumbnails",
        "augmentation",
        "min_lift",
        "instances",
    )
)
