"""Whether a label has a class, and how it is spelled: one check for all that correct."""

from collections.abc import Mapping, Sequence

from augrank.errors import BadRequest, one_of


def check_class(classes: Mapping[str, Sequence[str]], label: str, value: str | None) -> None:
    """Check that a label has a class.

    Args:
        classes: of each label.
        label: in question.
        value: the class; None: the model decides again.

    Raises:
        BadRequest: there is no such label, or no such class of it.
    """
    if label not in classes:
        raise BadRequest(
            f"the model has no label {label!r}", expected=one_of(classes, label), got=label
        )
    if value is not None and value not in classes[label]:
        raise BadRequest(
            f"{label} has no class {value!r}", expected=one_of(classes[label], value), got=value
        )


def spelled(classes: Mapping[str, Sequence[str]], label: str, value: str | None) -> str | None:
    """Return a value as the label's class that differs from it in case alone, if there is one.

    Files of other systems say "Black" where the class is black.
    """
    own = classes.get(label, ())
    if value is None or value in own:
        return value
    return next((name for name in own if name.casefold() == value.casefold()), value)
