"""One query can be followed through the logs of all processes."""


def test_the_query_id_is_in_the_logs_of_czar_and_workers(cluster):
    cluster.query("SELECT objectId FROM sky.Object", query_id="traced").to_arrow()
    logs = sorted((cluster.cluster.directory / "logs").glob("*.log"))
    assert [log.stem for log in logs] == ["czar", "worker-1", "worker-2", "worker-3"]
    silent = [log.stem for log in logs if "traced" not in log.read_text()]
    assert silent == []
