"""Sections of Markdown documents that several commands write."""

import re

HEADING = re.compile(r"(?m)^## .*$")


def with_section(document: str, section: str) -> str:
    """Return a document with this section, in place of one of the same heading or at its end."""
    heading = section.partition("\n")[0]
    if (pattern := _pattern(heading)).search(document):
        return pattern.sub(lambda _: f"{section}\n\n", document).rstrip() + "\n"
    return f"{document.rstrip()}\n\n{section}\n".lstrip()


def section_of(document: str, heading: str) -> str:
    """Return the section of a heading, without blank lines around it; empty if there is none."""
    found = _pattern(heading).search(document)
    return found.group().strip() if found else ""


def with_other_sections(document: str, previous: str, own: tuple[str, ...]) -> str:
    """Return a document with the sections of a previous one that other commands wrote.

    Args:
        document: new.
        previous: the document until now.
        own: what the headings of this command's sections start with.
    """
    for heading in HEADING.findall(previous):
        if not heading.startswith(own):
            document = with_section(document, section_of(previous, heading))
    return document


def _pattern(heading: str) -> re.Pattern[str]:
    return re.compile(rf"(?ms)^{re.escape(heading)}$.*?(?=^## |\Z)")
