"""The names that SageMaker Ground Truth's manifests use, and those of the columns made of them.

A multi-label attribute is a question of no or yes for each of its classes, as a label of its own:
``wears: dress``.
"""

SOURCE, METADATA = "source-ref", "-metadata"
SINGLE_LABEL = "groundtruth/image-classification"
MULTI_LABEL = "groundtruth/image-classification-multilabel"
CONFIDENCE, HUMAN = "_confidence", "_human_annotated"  # columns, after the name of their label
SEPARATOR = "|"  # of the classes in a cell
NO, YES = "no", "yes"
OF_CLASS = ": "  # between the names of an attribute and of a class
