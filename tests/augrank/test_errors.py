import pytest
from pydantic import BaseModel, ValidationError

from augrank.errors import AugrankError, BadRequest, one_of, reason


def test_errors_say_expected_got_remedy_and_carry_their_status():
    error = BadRequest("it broke", expected="a", got="b", remedy="Do c.")
    assert str(error) == "it broke: expected a, got b. Do c."
    assert error.to_dict() == {
        "error": {"code": "bad_request", "status": 400, "message": str(error), "expected": "a",
                  "got": "b", "remedy": "Do c."}
    }  # fmt: skip
    assert str(AugrankError("it broke")) == "it broke"
    assert one_of(["open_rate", "bounce_rate"], "Open-Rate").endswith("(did you mean open_rate?)")


def test_the_reason_of_a_librarys_failure_is_one_line():
    assert reason(FileNotFoundError(2, "No such file or directory", "a.txt")) == (
        "No such file or directory"
    )
    assert reason(ValueError("\n  line 3: bad.\n  Traceback ...")) == "line 3: bad"
    assert reason(EOFError()) == "EOFError"


def test_the_reason_of_a_wrong_field_names_it():
    class Model(BaseModel):
        side: int

    with pytest.raises(ValidationError) as caught:
        Model.model_validate({"side": "x"})
    assert reason(caught.value).startswith("side: Input should be a valid integer")
