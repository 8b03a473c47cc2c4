"""Each format as its original downloads have it: what every row becomes, and what a wrong cell says."""

from pathlib import Path

import pytest

from fairway.model.errors import FairwayError, InvalidField, NotFound
from fairway.model.job import Priority, PriorityClass
from fairway.model.resources import Accelerator, Amount, Request
from fairway.sim.simulate import simulate
from fairway.sim.traces import FORMATS, Trace, read

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn0,64000,262144,2,P100\nn1,96000,786432,8,V100M32\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
    "p0,12000,16384,1,1000,,LS,Running,100,500,110\n"
    "p1,6000,12288,1,460,P100|V100M32,BE,Pending,90,300,\n"
    "p2,4000,1024,0,0,,LS,Failed,100,100,100\n"
)
PHILLY = (
    "timestamp,duration,num_gpus,gpu_time,cluster\n"
    "2017-10-09 07:01:55,66.0,1,66.0,11cb48\n"
    "2017-10-09 06:13:03,2951.5,16,2951.0,6214e9\n"
    "2017-10-10 06:13:03,1.0,12,1.0,tiny\n"
)
VC_NODES = "vc,node num\n6214e9,3\n11cb48,1\n"
MURI = (
    "job_id,num_gpu,submit_time,iterations,model_name,batch_size,duration,interval,iteration_time,priority\n"
    "0,1,0,5853661,dqn,128,2868294000,46122000,490,1\n"
    "1,16,201694000,8787693,vgg16,128,4472936000,201694000,509,0\n"
)
SWF = (
    "; Computer: somewhere\n; MaxNodes: 4\n; MaxProcs: 16\n; MaxMemory: 8388608\n"
    "1 0 5 100 4 -1 -1 4 200 1048576 1 7 1 -1 2 -1 -1 -1\n"
    "2 30 0 50 6 -1 -1 6 -1 -1 1 8 1 -1 -1 -1 -1 -1\n"
    "3 40 0 -1 6 -1 -1 6 60 -1 5 8 1 -1 2 -1 -1 -1\n"
)
TABLE = (
    "submit_s,duration_s,id,queue,user,priority,tasks,min_tasks,gpus,gpu_types,cpu,memory_mib,deadline_s,"
    "estimate_s,checkpoint_s,max_runtime_s\n"
    "10,60,a,research/vision,ann,high+5,4,2,2,H100:2|A100,8,4096,400,90,15,120\n"
    "5.5,1,,,,,,,,,,,,,,\n"
)


@pytest.fixture
def put(tmp_path: Path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def openb(put, pods: str = PODS) -> Trace:
    return read(put("pods.csv", pods), nodes=put("nodes.csv", NODES))


def test_openb_pods_are_jobs_of_one_task(put) -> None:
    trace = openb(put)
    assert [(job.id, job.submitted, job.work) for job in trace.jobs] == [
        ("p1", 0, 210_000),
        ("p0", 10_000, 390_000),
        ("p2", 10_000, 1),
    ]
    p1, p0, p2 = trace.jobs
    assert p0.roles[0].request == Request(cpu_milli=12_000, memory_mib=16_384, gpus=1)
    assert p1.roles[0].request == Request(
        cpu_milli=6_000,
        memory_mib=12_288,
        gpus=1,
        gpu_milli=460,
        accelerators=(Accelerator("P100"), Accelerator("V100M32")),
    )
    assert p2.roles[0].request == Request(cpu_milli=4_000, memory_mib=1_024)
    assert p0.labels == (("qos", "LS"),)
    assert [(node.id, node.gpus, node.gpu_type) for node in trace.nodes] == [("n0", 2, "P100"), ("n1", 8, "V100M32")]
    assert all(job.estimate is None for job in trace.jobs)
    assert any("1 pods were never scheduled" in note for note in trace.notes)


def test_openb_without_times_says_what_it_assumes(put) -> None:
    trace = openb(put, "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np0,1000,1024,1,1000\np1,1000,1024,8,1000\n")
    assert [(job.submitted, job.work) for job in trace.jobs] == [(0, 86_400_000), (1_000, 86_400_000)]
    assert any("no times" in note and "24 h" in note for note in trace.notes)


def test_philly_clusters_own_their_nodes_and_borrow(put) -> None:
    trace = read(put("philly.csv", PHILLY), vc_nodes=put("vc.csv", VC_NODES))
    assert [(job.id, job.submitted, job.work, job.queue) for job in trace.jobs] == [
        ("philly-2", 0, 2_951_500, "6214e9"),
        ("philly-1", 2_932_000, 66_000, "11cb48"),
        ("philly-3", 86_400_000, 1_000, "tiny"),
    ]
    assert [(job.tasks, job.roles[0].request.gpus) for job in trace.jobs] == [(2, 8), (1, 1), (2, 6)]
    assert {queue.id: queue.quota for queue in trace.queues} == {
        "11cb48": Amount(gpu_milli=8_000),
        "6214e9": Amount(gpu_milli=24_000),
        "tiny": Amount(gpu_milli=0),
    }
    assert all(queue.limit == Amount() for queue in trace.queues)
    assert [node.gpus for node in trace.nodes] == [8, 8, 8, 8]
    assert any("tiny" in note and "borrow" in note for note in trace.notes)


def test_philly_runs_on_other_nodes_too(put) -> None:
    trace = read(put("philly.csv", PHILLY), nodes=put("nodes.csv", "id,gpus,count\nbig,16,2\n"))
    assert [node.id for node in trace.nodes] == ["big-0", "big-1"]
    assert all(queue.quota == Amount(gpu_milli=0) for queue in trace.queues)
    assert any("owns anything" in note for note in trace.notes)


def test_muri_has_64_gpus_unless_told_otherwise(put) -> None:
    trace = read(put("trace1.csv", MURI))
    assert trace.format == "philly-muri"
    assert trace.gpu_milli == 64_000
    assert [(job.id, job.submitted, job.work, job.tasks) for job in trace.jobs] == [
        ("dqn-0", 0, 2_868_294_000, 1),
        ("vgg16-1", 201_694_000, 4_472_936_000, 2),
    ]
    other = read(put("trace1.csv", MURI), nodes=put("nodes.csv", "id,gpus\na,4\n"))
    assert other.gpu_milli == 4_000


def test_swf_processors_are_cores_and_gangs_span_few_nodes(put) -> None:
    trace = read(put("log.swf", SWF))
    assert [(node.cpu_milli, node.memory_mib) for node in trace.nodes] == [(4_000, 8_192)] * 4
    one, two = trace.jobs
    assert (one.roles[0].count, one.roles[0].request) == (1, Request(cpu_milli=4_000, memory_mib=4_096))
    assert (two.roles[0].count, two.roles[0].request) == (2, Request(cpu_milli=3_000))
    assert (one.submitted, one.work, one.estimate, one.user, one.queue) == (0, 100_000, 200_000, "user7", "q2")
    assert (two.submitted, two.estimate, two.queue) == (30_000, None, "default")
    assert any("1 jobs that never ran" in note for note in trace.notes)


def test_swf_nodes_share_processors_that_do_not_divide(put) -> None:
    trace = read(put("log.swf", SWF.replace("MaxProcs: 16", "MaxProcs: 18")))
    assert [node.cpu_milli for node in trace.nodes] == [5_000, 5_000, 4_000, 4_000]


def test_a_table_of_ones_own(put) -> None:
    trace = read(
        put("mine.csv", TABLE), nodes=put("nodes.csv", "id,cpu,memory_mib,gpus,gpu_type,rack\nn,64,65536,8,H100,r1\n")
    )
    plain, rich = trace.jobs
    assert (plain.id, plain.queue, plain.submitted, plain.work) == ("mine-3", "default", 0, 1_000)
    assert (rich.id, rich.queue, rich.user, rich.submitted) == ("a", "research/vision", "ann", 4_500)
    assert rich.priority == Priority(PriorityClass.HIGH, 5)
    assert (rich.deadline, rich.estimate, rich.max_runtime) == (394_500, 90_000, 120_000)
    assert (rich.checkpoints, rich.checkpoint_every) == (True, 15_000)
    (role,) = rich.roles
    assert (role.count, role.least) == (4, 2)
    assert role.request == Request(
        cpu_milli=8_000, memory_mib=4_096, gpus=2, accelerators=(Accelerator("H100", 2.0), Accelerator("A100", 1.0))
    )
    assert trace.nodes[0].topology.rack == "r1"


def test_perfect_estimates_are_the_truth(put) -> None:
    trace = read(put("philly.csv", PHILLY), vc_nodes=put("vc.csv", VC_NODES), estimates="perfect")
    assert all(job.estimate == job.work for job in trace.jobs)
    assert any("estimate" in note for note in trace.notes)


def test_every_format_is_told_by_its_first_line(put) -> None:
    for text, name in ((PODS, "openb"), (PHILLY, "philly"), (MURI, "philly-muri"), (TABLE, "table"), (SWF, "swf")):
        trace = read(put("x.csv", text), nodes=put("nodes.csv", NODES))
        assert trace.format == name
        assert read(put("x.csv", text), nodes=put("nodes.csv", NODES), format=name).jobs == trace.jobs
    assert [each.name for each in FORMATS] == ["openb", "philly", "philly-muri", "table", "swf"]


def test_a_byte_order_mark_and_windows_lines_do_no_harm(put) -> None:
    path = put("philly.csv", "")
    path.write_bytes(b"\xef\xbb\xbf" + PHILLY.replace("\n", "\r\n").encode())
    assert len(read(path, vc_nodes=put("vc.csv", VC_NODES)).jobs) == 3


WRONG = [
    (PODS.replace("12000", "many"), "pods.csv:2:cpu_milli", "'many' is not a whole number of 0 or more"),
    (PODS.replace(",460,", ",1460,"), "pods.csv:3:gpu_milli", "'1460' is not a whole number of 1000 or less"),
    (PODS.replace("p1,", "p0,"), "pods.csv:3:name", "'p0' is not a pod's own name"),
    (PODS.replace("500,110", "105,110"), "pods.csv:2:deletion_time", "'105' is not at or after the pod's start"),
    (PODS.replace(",1,460,", ",2,460,"), "pods.csv:3:gpu_milli", "'460' is not 1000: several GPUs are taken whole"),
    (PODS.replace("16384,", ""), "pods.csv:2", "has 10 columns, the header names 11"),
    (PHILLY.replace("2951.5", "-1"), "pods.csv:3:duration", "'-1' is not a number of 0 or more"),
    (PHILLY.replace("2951.5", "nan"), "pods.csv:3:duration", "'nan' is not a number of 0 or more"),
    (PHILLY.replace("66.0,1", "9e12,1"), "pods.csv:2:duration", "longer than ten years"),
    (PHILLY.replace("2017-10-09 07:01:55", "yesterday"), "pods.csv:2:timestamp", "'yesterday' is not a local time"),
    (PHILLY.replace("07:01:55", "07:01:55Z"), "pods.csv:2:timestamp", "names a time zone"),
    (PHILLY.replace(",1,66", ",0,66"), "pods.csv:2:num_gpus", "'0' is not a whole number of 1 or more"),
    (PHILLY.replace("tiny", "Not A Name"), "pods.csv:4:cluster", "'Not A Name' is not a virtual cluster's name"),
    (TABLE.replace("high+5", "urgent"), "pods.csv:2:priority", "'urgent' is not one of critical, high"),
    (TABLE.replace("H100:2", "H100:fast"), "pods.csv:2:gpu_types", "'H100:fast' is not a type, or type:speed"),
    (TABLE.replace(",4,2,2,", ",4,9,2,"), "pods.csv:2:min_tasks", "'9' is not a whole number of 4 or less"),
    (TABLE.replace("research/vision", "R D"), "pods.csv:2:queue", "'R D' is not a queue's path"),
    (SWF.replace(" 100 4", " long 4"), "pods.csv:5:run", "'long' is not a number"),
    (SWF.replace("2 30 0", "1 30 0"), "pods.csv:6:job", "the number 1 is not a job's own"),
    (SWF.replace("-1 2 -1 -1 -1\n2", "-1 2 -1 -1\n2"), "pods.csv:5", "has 17 fields"),
    (SWF.replace("\n1 0 5", "\n1 -9 5"), "pods.csv:5:submit", "-9 is before the trace begins"),
    ("a,b\n1,2\n", "pods.csv:1", "'a,b' is the header of no known format"),
    ("", "pods.csv:1", "'' is the header of no known format"),
    (PODS.splitlines()[0] + "\n", "pods.csv", "has no jobs"),
]


@pytest.mark.parametrize(("text", "where", "what"), WRONG, ids=[f"{where}: {what}" for _, where, what in WRONG])
def test_a_wrong_cell_names_its_line_column_and_value(put, text: str, where: str, what: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read(put("pods.csv", text), nodes=put("nodes.csv", NODES))
    assert caught.value.field == where
    assert what in caught.value.message


NODES_WRONG = [
    ("sn,cpu_milli,memory_mib,gpu\nn0,1,1,1\n", "nodes.csv:1", "has no column 'model'"),
    (NODES.replace("n1,", "n0,"), "nodes.csv:3:sn", "'n0' is not a name of its own"),
    (NODES.splitlines()[0] + "\n", "nodes.csv:2", "has no nodes"),
    ("id,gpus,count\nn,4,0\n", "nodes.csv:2:count", "'0' is not a whole number of 1 or more"),
    ("id,gpus,gpus\nn,4,0\n", "nodes.csv:1", "has the column 'gpus' twice"),
    ("name,size\n", "nodes.csv:1", "is not a node list"),
]


@pytest.mark.parametrize(("text", "where", "what"), NODES_WRONG)
def test_a_wrong_node_list_says_so(put, text: str, where: str, what: str) -> None:
    with pytest.raises(InvalidField) as caught:
        read(put("pods.csv", PODS), nodes=put("nodes.csv", text))
    assert caught.value.field == where
    assert what in caught.value.message


@pytest.mark.parametrize(
    ("text", "option"),
    [(PODS, "--nodes"), (PHILLY, "--vc-nodes"), (TABLE, "--nodes"), (SWF.replace("Max", "Least"), "--nodes")],
    ids=["openb", "philly", "table", "swf"],
)
def test_a_trace_without_its_cluster_says_which_option_gives_it(put, text: str, option: str) -> None:
    with pytest.raises(InvalidField, match=option) as caught:
        read(put("pods.csv", text))
    assert caught.value.field == "nodes"


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no file .*absent\.csv"):
        read(tmp_path / "absent.csv")
    with pytest.raises(InvalidField, match="folder"):
        read(tmp_path)


def test_an_unknown_format_lists_the_known(put) -> None:
    with pytest.raises(InvalidField, match="philly-muri"):
        read(put("pods.csv", PODS), format="excel")


def test_bytes_that_are_no_text_are_refused(put, tmp_path: Path) -> None:
    path = tmp_path / "pods.csv"
    path.write_bytes(b"name,\xff\xfe\n")
    with pytest.raises(FairwayError, match="not text in UTF-8"):
        read(path)


class TestOriginals:
    """The downloads themselves, where they are at hand."""

    def test_openb(self, traces: Path) -> None:
        folder = traces / "openb"
        lists = sorted(folder.glob("openb_pod_list_*.csv"))
        assert lists
        for path in lists:
            trace = read(path, nodes=folder / "openb_node_list_gpu_node.csv")
            assert len(trace.jobs) == len(path.read_text().splitlines()) - 1
            assert (len(trace.nodes), trace.gpu_milli) == (1_213, 6_212_000)

    def test_philly(self, traces: Path) -> None:
        trace = read(traces / "philly/philly.csv", vc_nodes=traces / "philly/vc_nodes.csv")
        assert len(trace.jobs) == 82_247
        assert (len(trace.queues), len(trace.nodes)) == (15, 352)
        assert trace.jobs[0].submitted == 0
        assert [job.submitted for job in trace.jobs] == sorted(job.submitted for job in trace.jobs)

    def test_philly_muri(self, traces: Path) -> None:
        sizes = [len(read(path).jobs) for path in sorted((traces / "philly-muri").glob("*.csv"))]
        assert sizes == [1_494, 5_755]


@pytest.mark.parametrize("text", [PODS, PHILLY, MURI, TABLE, SWF], ids=[each.name for each in FORMATS])
def test_what_is_read_can_be_run(put, text: str) -> None:
    nodes = put("nodes.csv", "id,count,cpu,memory_mib,gpus,gpu_type\nn,4,64,524288,8,V100M32\nh,4,64,524288,8,H100\n")
    trace = read(put("x.csv", text), nodes=nodes)
    report = simulate(trace)
    assert (report.jobs, report.completed) == (len(trace.jobs), len(trace.jobs))
    assert report.notes[: len(trace.notes)] == trace.notes
