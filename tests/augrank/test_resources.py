from augrank.resources import threads_per_worker, usable_cores


def test_cores_follow_the_containers_quota(tmp_path):
    quota = tmp_path / "cpu.max"
    quota.write_text("50000 100000")
    assert usable_cores(quota) == 1
    quota.write_text("max 100000")
    assert usable_cores(quota) == usable_cores(tmp_path / "none") >= 1
    assert threads_per_worker(2, cores=8) == 4
    assert threads_per_worker(3, cores=2) == 1
