"""Who asks too often waits, and nobody else does."""

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from service.access.token_buckets import MAX_BUCKETS, TokenBuckets
from service.database.session import Database
from tests.service.support.keyed import HOST, client_of, keyed_app, make_key, revoke


def test_a_bucket_is_emptied_and_fills_again():
    now = [100.0]
    buckets = TokenBuckets(2, 3, lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 1]
    assert buckets.take("b") == 0
    now[0] += 0.49
    assert buckets.take("a") == 1
    now[0] += 0.02
    assert [buckets.take("a") for _ in range(2)] == [0, 1]
    now[0] += 1000
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 1]


def test_the_wait_is_told_in_whole_seconds_after_which_there_is_a_token():
    now = [0.0]
    buckets = TokenBuckets(1 / 60, 1, lambda: now[0])
    assert [buckets.take("a"), buckets.take("a")] == [0, 60]
    now[0] = 30.5
    assert buckets.take("a") == 30
    now[0] += 30
    assert buckets.take("a") == 0


def test_no_rate_is_no_limit():
    buckets = TokenBuckets(0, 1, lambda: 0.0)
    assert {buckets.take("a") for _ in range(100)} == {0}


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_nobody_gets_more_than_the_burst_and_the_rate(pauses):
    now, taken = [0.0], 0
    buckets = TokenBuckets(2, 5, lambda: now[0])
    for pause in pauses:
        now[0] += pause
        taken += buckets.take("a") == 0
    assert taken <= 5 + 2 * now[0] + 1e-6


def test_what_is_owed_is_waited_for_and_bounded():
    now = [0.0]
    buckets = TokenBuckets(1, 2, lambda: now[0])
    assert [buckets.wait_s("a"), buckets.wait_s("a")] == [0, 0]  # nothing is taken
    waits = []
    for _ in range(6):
        buckets.charge("a")
        waits.append(buckets.wait_s("a"))
    assert waits == [0, 1, 2, 3, 3, 3]
    now[0] += 3
    assert [buckets.wait_s("a"), buckets.take("a"), buckets.take("a")] == [0, 0, 1]
    assert buckets.wait_s("b") == 0


def test_buckets_are_bounded():
    buckets = TokenBuckets(1, 1, lambda: 0.0)
    for number in range(MAX_BUCKETS + 10):
        buckets.take(number)
    assert len(buckets._buckets) == MAX_BUCKETS
    assert buckets.take(MAX_BUCKETS + 9) == 1
    assert buckets.take(0) == 0  # forgotten


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
class TestRequests:
    def test_too_many_are_refused_and_told_when_to_come_back(self, database: Database, tmp_path):
        client = client_of(keyed_app(database, tmp_path, requests_per_s=0.001, requests_burst=3))
        answers = [client.get("/v1/openapi.json") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        refused = answers[-1]
        assert 1 <= int(refused.headers["Retry-After"]) <= 1000  # the clock goes on
        error = refused.json()["error"]
        assert (error["code"], error["status"]) == ("too_many_requests", 429)
        assert "at most 0.001 a second, 3 at once" in error["expected"]
        assert "X-Request-Id" in refused.headers
        assert "default-src 'none'" in refused.headers["Content-Security-Policy"]
        page = client.get("/docs", headers={"Accept": "text/html"})
        assert page.status_code == 429
        assert "<h1>Too many requests</h1>" in page.text

    def test_probes_metrics_and_static_files_are_free(self, database: Database, tmp_path):
        client = client_of(keyed_app(database, tmp_path, requests_per_s=0.001, requests_burst=1))
        for _ in range(3):
            for path in ("/healthz", "/readyz", "/metrics", "/static/style.css"):
                assert client.get(path).status_code == 200
        assert client.get("/docs").status_code == 200
        assert client.get("/docs").status_code == 429
        assert client.get("/metrics").status_code == 200
        assert 'status="429"' in client.get("/metrics").text

    def test_each_key_has_a_bucket_of_its_own(self, database: Database, tmp_path):
        app = keyed_app(database, tmp_path, requests_per_s=0.001, requests_burst=2)
        first, second = (client_of(app, make_key(database)) for _ in range(2))
        assert [first.get("/docs").status_code for _ in range(3)] == [200, 200, 429]
        assert second.get("/docs").status_code == 200

    def test_who_has_no_key_is_limited_by_address(self, database: Database, tmp_path):
        app = keyed_app(database, tmp_path, requests_per_s=0.001, requests_burst=2)
        key = make_key(database)
        wrong = client_of(app, key[:-2] + "xx")
        tried = [wrong.get("/v1/openapi.json").status_code for _ in range(3)]
        assert tried == [401, 401, 429]
        assert client_of(app, key).get("/v1/openapi.json").status_code == 200

    @pytest.mark.parametrize("kind", ["key", "session"])
    def test_who_tries_many_keys_is_refused_before_they_are_looked_up(
        self, database: Database, tmp_path, monkeypatch, kind
    ):
        app = keyed_app(database, tmp_path, requests_per_s=0)
        key, now, looked_up = make_key(database), [0.0], []
        holds = client_of(app, key)
        assert holds.get("/v1/openapi.json").status_code == 200
        authenticator = app.state.parts.authenticator
        authenticator._failures = TokenBuckets(1, 3, lambda: now[0])

        def spied(name: str):
            find = getattr(authenticator, name)
            return lambda *given: looked_up.append(name) or find(*given)

        for name in ("_by_key", "_by_session"):
            monkeypatch.setattr(authenticator, name, spied(name))

        def guess(number: int):
            secret = f"aug_{number:012x}_" + "x" * 43
            if kind == "key":
                return client_of(app, secret).get("/v1/openapi.json")
            return client_of(app).get(
                "/v1/openapi.json", headers={"Cookie": f"augrank_session={secret}"}
            )

        answers = [guess(number) for number in range(8)]
        assert [answer.status_code for answer in answers] == [401] * 3 + [429] * 5
        assert len(looked_up) == 3
        error = answers[-1].json()["error"]
        assert answers[-1].headers["Retry-After"] == "1"
        assert error["code"] == "too_many_requests"
        assert "at most 10 a second" in error["expected"]
        assert "a key that holds" in error["remedy"]
        page = client_of(app).get(
            "/docs", headers={"Cookie": "augrank_session=none", "Accept": "text/html"}
        )
        assert page.status_code == 429
        assert "<h1>Too many requests</h1>" in page.text
        authenticator._known.clear()  # as after a second
        assert holds.get("/v1/openapi.json").status_code == 200
        elsewhere = TestClient(app, base_url=HOST, client=("10.0.0.7", 5000))
        found = elsewhere.get("/v1/openapi.json", headers={"Authorization": "Bearer none"})
        assert found.status_code == 401
        now[0] += 1
        assert [guess(number).status_code for number in (8, 9)] == [401, 429]

    def test_keys_that_hold_cost_no_attempts(self, database: Database, tmp_path):
        app = keyed_app(database, tmp_path, requests_per_s=0)
        app.state.parts.authenticator._failures = TokenBuckets(0.001, 2)
        for _ in range(5):
            key = make_key(database)
            assert client_of(app, key).get("/v1/openapi.json").status_code == 200

    def test_a_key_that_is_revoked_is_an_attempt_like_others(self, database: Database, tmp_path):
        app = keyed_app(database, tmp_path, requests_per_s=0)
        key = make_key(database)
        client = client_of(app, key)
        assert client.get("/v1/openapi.json").status_code == 200
        revoke(database, key)
        authenticator = app.state.parts.authenticator
        authenticator._known.clear()
        authenticator._failures = TokenBuckets(0.001, 2)
        assert [client.get("/v1/openapi.json").status_code for _ in range(3)] == [401, 401, 429]

    def test_without_keys_nothing_is_an_attempt(self, database: Database, tmp_path):
        app = keyed_app(database, tmp_path, requests_per_s=0)
        app.state.parts.authenticator._failures = TokenBuckets(0.001, 1)
        client = client_of(app, "none")
        assert {client.get("/v1/openapi.json").status_code for _ in range(3)} == {200}

    def test_there_is_no_limit_if_it_is_switched_off(self, database: Database, tmp_path):
        client = client_of(keyed_app(database, tmp_path, requests_per_s=0, requests_burst=1))
        assert {client.get("/docs").status_code for _ in range(5)} == {200}
