from augrank.errors import AugrankError, BadRequest, one_of


def test_errors_say_expected_got_remedy_and_carry_their_status():
    error = BadRequest("it broke", expected="a", got="b", remedy="Do c.")
    assert str(error) == "it broke: expected a, got b. Do c."
    assert error.to_dict() == {
        "error": {"code": "bad_request", "status": 400, "message": str(error), "expected": "a",
                  "got": "b", "remedy": "Do c."}
    }  # fmt: skip
    assert str(AugrankError("it broke")) == "it broke"
    assert one_of(["open_rate", "bounce_rate"], "Open-Rate").endswith("(did you mean open_rate?)")
