"""Versions come and go while the server answers."""

import gc
import json
import logging
import shutil
import threading
import time
import weakref

import grpc
import numpy as np
import pytest

from tests.serving.tiny import gray_png

pytestmark = [pytest.mark.tf, pytest.mark.slow]

AVAILABLE, END = 30, 50


@pytest.fixture
def root(tmp_path, tiny_models, push_version):
    push_version(tiny_models[0.25], tmp_path / "tiny", 3)
    return tmp_path


@pytest.fixture
def manager(root):
    from cxrflow.serving.manager import Manager
    from cxrflow.serving.settings import ServerConfig

    made = []

    def make():
        made.append(Manager(root, ServerConfig(poll_seconds=3600)))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()


def spec(**wanted):
    from tensorflow_serving.apis import model_pb2

    made = model_pb2.ModelSpec(name="tiny")
    if "version" in wanted:
        made.version.value = wanted["version"]
    if "label" in wanted:
        made.version_label = wanted["label"]
    return made


def mark(manager, **wanted):
    """The answer of the version that is asked: (its number, its mark)."""
    with manager.lease(spec(**wanted)) as version:
        inputs = {"image_bytes": np.array([gray_png(0)], object)}
        found = version.servable.run("serving_default", inputs, ("probabilities",))
        return version.number, float(found["probabilities"][0, 1])


def states(manager):
    return {number: version.state for number, version in manager.statuses("tiny").items()}


def label(root, pinned=None, **labels):
    (root / "tiny" / "labels.json").write_text(json.dumps({"labels": labels, "pinned": pinned}))


def test_the_newest_version_takes_over(manager, root, tiny_models, push_version):
    manager = manager()
    assert mark(manager) == (3, 0.25)
    push_version(tiny_models[0.75], root / "tiny", 7)
    manager.poll()
    assert mark(manager) == mark(manager, label="stable") == (7, 0.75)
    assert states(manager) == {3: END, 7: AVAILABLE}
    assert manager.statuses("tiny")[3].servable is None


def test_a_version_goes_when_its_last_request_is_answered(manager, root, tiny_models, push_version):
    manager = manager()
    order = []
    with manager.lease(spec()) as old:
        push_version(tiny_models[0.75], root / "tiny", 7)
        thread = threading.Thread(target=lambda: (manager.poll(), order.append("unloaded")))
        thread.start()
        while mark_number(manager) != 7:
            time.sleep(0.01)
        assert old.servable is not None  # the request under way can go on
        order.append("answered")
    thread.join(10)
    assert order == ["answered", "unloaded"]
    assert old.servable is None


def test_versions_leave_nothing_behind(manager, root, tiny_models, push_version):
    manager = manager()
    threads = threading.active_count()
    old = weakref.ref(manager.statuses("tiny")[3].servable)
    for number in range(4, 8):
        push_version(tiny_models[0.75], root / "tiny", number)
        manager.poll()
        assert mark(manager) == (number, 0.75)
    gc.collect()
    assert old() is None
    assert threading.active_count() <= threads


def mark_number(manager):
    with manager.lease(spec()) as version:
        return version.number


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda v: (v / "saved_model.pb").write_bytes(b"x"), "saved_model.pb was changed"),
        (lambda v: (v / "manifest.json").unlink(), "manifest.json can't be read"),
        (lambda v: (v / "more").write_bytes(b""), "more isn't in manifest.json"),
        (lambda v: next((v / "variables").iterdir()).unlink(), "is missing"),
        (lambda v: (v / "link").symlink_to("/etc/hostname"), "link"),
    ],
)
def test_a_version_that_does_not_match_is_rejected(
    manager, root, tiny_models, push_version, damage, reason, caplog
):
    manager = manager()
    damage(push_version(tiny_models[0.75], root / "tiny", 7))
    with caplog.at_level(logging.ERROR):
        manager.poll()
    assert mark(manager) == mark(manager, label="stable") == (3, 0.25)
    assert states(manager) == {3: AVAILABLE, 7: END}
    assert reason in manager.statuses("tiny")[7].error
    assert "version 7 is rejected" in caplog.text
    caplog.clear()
    manager.poll()
    assert not caplog.text  # not tried again until it changes
    shutil.rmtree(root / "tiny" / "7")
    push_version(tiny_models[0.75], root / "tiny", 7)
    manager.poll()
    assert mark(manager) == (7, 0.75)


def test_what_stays_broken_is_said_once(manager, root, tiny_models, push_version, caplog):
    manager = manager()
    push_version(tiny_models[0.75], root / "tiny", 7).joinpath("more").write_bytes(b"")
    (root / "tiny" / "labels.json").write_text("{")
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            manager.poll()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(set(said)) <= 2, said  # the labels, and the version where it is wanted
    assert mark(manager) == (3, 0.25)


def test_a_root_that_cannot_be_read_is_said_once(root, monkeypatch, caplog):
    from cxrflow.serving.manager import Manager
    from cxrflow.serving.settings import ServerConfig

    manager, looks = Manager(root, ServerConfig(poll_seconds=0.01)), []
    with caplog.at_level(logging.ERROR):
        manager.start()
        answers = manager._step

        def step():
            looks.append(1)
            if len(looks) < 20:
                raise OSError("Stale file handle")
            return answers()

        monkeypatch.setattr(manager, "_step", step)
        give_up = time.monotonic() + 60
        while len(looks) < 25:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        manager.stop()
    assert len(caplog.records) == 1 and "Stale file handle" in caplog.text


def test_a_model_that_tensorflow_cannot_load_is_rejected(manager, root, push_version, tmp_path):
    manager = manager()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"\x08\x01")
    push_version(broken, root / "tiny", 7)
    manager.poll()
    assert mark(manager) == (3, 0.25)
    assert states(manager)[7] == END and manager.statuses("tiny")[7].error


def test_after_a_restart_a_damaged_version_is_passed_over(manager, root, tiny_models, push_version):
    (push_version(tiny_models[0.75], root / "tiny", 7) / "more").write_bytes(b"")
    assert mark(manager()) == (3, 0.25)


def test_in_a_damaged_pinned_versions_place_the_newest_answers_and_it_is_said(
    manager, root, tiny_models, push_version, caplog
):
    (push_version(tiny_models[0.75], root / "tiny", 7) / "more").write_bytes(b"")
    label(root, pinned=7)
    assert manager().served() == {"tiny": 3}
    assert "version 7 is not there or was rejected; version 3 is served in its place" in caplog.text


@pytest.fixture
def hanging(monkeypatch):
    """Version 7 never gets warm, until the test is over."""
    from cxrflow.serving.servable import Servable

    over, warm_up = threading.Event(), Servable.warm_up

    def wait(self, folder, *given):
        if folder.name == "7":
            over.wait()
        return warm_up(self, folder, *given)

    monkeypatch.setattr(Servable, "warm_up", wait)
    yield over
    over.set()


def test_a_version_that_does_not_get_warm_is_given_up(
    root, tiny_models, push_version, hanging, caplog, monkeypatch
):
    from cxrflow.serving.manager import Manager
    from cxrflow.serving.settings import ServerConfig

    push_version(tiny_models[0.75], root / "tiny", 7)
    manager = Manager(root, ServerConfig(poll_seconds=3600, load_seconds=60))
    start = manager._loader.start

    def shorter_for_7(version, *given):
        load = start(version, *given)
        assert load.deadline == load.began + 60
        if version.number == 7:
            load.deadline = load.began + 0.5
        return load

    monkeypatch.setattr(manager._loader, "start", shorter_for_7)
    manager.start()
    assert manager.served() == {"tiny": 3}
    assert "version 7 is rejected: not loaded within 60 s" in caplog.text
    push_version(tiny_models[0.75], root / "tiny", 8)
    manager.poll()
    assert mark(manager) == (8, 0.75)
    threads = [t for t in threading.enumerate() if t.name == "load-7"]
    hanging.set()
    for thread in threads:
        thread.join(30)
    assert states(manager)[7] == END  # what came too late is freed
    assert manager.statuses("tiny")[7].servable is None
    manager.stop()


def test_a_load_keeps_neither_rollback_nor_stopping_waiting(
    root, tiny_models, push_version, hanging
):
    from cxrflow.serving.manager import Manager
    from cxrflow.serving.settings import ServerConfig

    manager = Manager(root, ServerConfig(poll_seconds=3600, load_seconds=3600))
    manager.start()
    push_version(tiny_models[0.75], root / "tiny", 5)
    manager.poll()
    push_version(tiny_models[0.75], root / "tiny", 7)
    assert len(manager._step()) == 1  # it goes on loading
    assert mark(manager) == (5, 0.75)
    label(root, stable=3, canary=5)
    manager.poll()
    assert mark(manager) == (3, 0.25)
    label(root, stable=7)
    assert len(manager._step()) == 1  # given up because it wasn't wanted, it may be tried again
    manager.stop()


def test_a_label_that_hangs_keeps_neither_the_start_nor_other_labels_waiting(
    root, tiny_models, push_version, hanging, monkeypatch
):
    from cxrflow.serving import manager as module
    from cxrflow.serving.settings import ServerConfig

    for number in (5, 7):
        push_version(tiny_models[0.75], root / "tiny", number)
    label(root, stable=3, canary=7)
    manager = module.Manager(root, ServerConfig(poll_seconds=3600))
    monkeypatch.setattr(module, "_USUAL_SECONDS", 0.5)
    manager.start()
    assert mark(manager) == (3, 0.25)
    monkeypatch.setattr(module, "_USUAL_SECONDS", 3600)
    label(root, stable=5, canary=7)
    await_version(manager, 5)
    monkeypatch.setattr(module, "_USUAL_SECONDS", 0)
    label(root, stable=5, canary=7, before=3)
    await_version(manager, 3, label="before")
    assert states(manager)[7] == 20  # LOADING
    manager.stop()


def await_version(manager, number, **wanted):
    from cxrflow.serving.status import StatusError

    give_up, found = time.monotonic() + 60, None
    while found != number:
        assert time.monotonic() < give_up
        manager._step()
        try:
            found = mark(manager, **wanted)[0]
        except StatusError:
            time.sleep(0.05)


def test_the_start_can_be_stopped_while_a_version_hangs(root, tiny_models, push_version, hanging):
    from cxrflow.serving.server import running
    from cxrflow.serving.settings import ServerConfig

    push_version(tiny_models[0.75], root / "tiny", 7)
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    # Who waited for the version would wait for more than pytest does.
    config = ServerConfig(grpc_port=0, rest_port=0, load_seconds=3600)
    with running(root, config, stop=stop) as server:
        assert stop.is_set() and not server.manager.served()
    assert not hanging.is_set()


def test_a_model_json_of_a_newer_format_is_rejected_by_name(
    manager, root, tiny_models, push_version, tmp_path_factory, caplog
):
    model = tmp_path_factory.mktemp("newer") / "model"
    shutil.copytree(tiny_models[0.75], model)
    (model / "assets.extra" / "model.json").write_text('{"format": 99, "classes": ["Other"]}')
    push_version(model, root / "tiny", 7)
    assert manager().served() == {"tiny": 3}
    assert (
        "version 7 is rejected: assets.extra/model.json is of format 99, of a newer" in caplog.text
    )


@pytest.mark.parametrize("odd_versions", ["refuse", "warn"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: (v / "assets.extra" / "tf_serving_warmup_requests").unlink(), "no warm-up"),
        (
            lambda v: (v / "assets.extra" / "model.json").write_text('{"classes": ["Other"]}'),
            "its classes are Other, those of the version that is served are Mean, Mark",
        ),
    ],
)
def test_odd_versions(
    root, tiny_models, push_version, tmp_path_factory, caplog, odd_versions, change, reason
):
    from cxrflow.serving.manager import Manager
    from cxrflow.serving.settings import ServerConfig

    manager = Manager(root, ServerConfig(poll_seconds=3600, odd_versions=odd_versions))
    manager.start()
    model = tmp_path_factory.mktemp("odd") / "model"
    shutil.copytree(tiny_models[0.75], model)
    change(model)
    push_version(model, root / "tiny", 7)
    manager.poll()
    assert manager.served() == {"tiny": 3 if odd_versions == "refuse" else 7}
    assert reason in caplog.text
    manager.stop()


def test_what_became_of_the_versions_is_written_beside_them(
    manager, root, tiny_models, push_version
):
    from cxrflow.schema.store.load_record import RECORD, living_record

    odd = push_version(tiny_models[0.75], root / "tiny", 7)
    (odd / "more").write_bytes(b"")
    one = manager()
    record = living_record(root / "tiny")
    assert record.labels == {"stable": 3} and list(record.rejected) == [7]
    assert record.rejection(odd) == "more isn't in manifest.json"
    (odd / "more").unlink()
    assert record.rejection(odd) == ""  # other files than those that were rejected
    (root / "tiny" / RECORD).unlink()  # another server's end
    one.poll()
    assert living_record(root / "tiny").labels == {"stable": 7}
    one.stop()
    assert living_record(root / "tiny") is None


def test_labels_move_while_it_serves(manager, root, tiny_models, push_version):
    from cxrflow.serving.status import StatusError

    push_version(tiny_models[0.75], root / "tiny", 7)
    label(root, stable=3, canary=7)
    manager = manager()
    assert mark(manager) == mark(manager, label="stable") == mark(manager, version=3) == (3, 0.25)
    assert mark(manager, label="canary") == (7, 0.75)
    label(root, stable=7)
    manager.poll()
    assert mark(manager) == (7, 0.75)
    assert states(manager)[3] == END
    with pytest.raises(StatusError, match="Unrecognized servable version label: canary"):
        mark(manager, label="canary")
    label(root, pinned=3, stable=7)  # a rollback
    manager.poll()
    assert mark(manager) == mark(manager, label="stable") == (3, 0.25)
    (root / "tiny" / "labels.json").write_text("nonsense")
    manager.poll()
    assert mark(manager) == (3, 0.25)


def test_a_loaded_version_is_held_against_pruning(manager, root):
    from cxrflow.schema.store.versions import locked, remove

    one = manager()
    with locked(root / "tiny"):
        assert not remove(root / "tiny", 3)
    one.stop()
    with locked(root / "tiny"):
        assert remove(root / "tiny", 3)


def test_folders_that_vanish_do_not_stop_the_service(
    manager, root, tiny_models, push_version, caplog
):
    manager = manager()
    for vanished in (root / "tiny" / "3", root / "tiny"):
        caplog.clear()
        shutil.rmtree(vanished)
        for _ in range(3):
            manager.poll()
        assert mark(manager) == mark(manager, label="stable") == (3, 0.25)
        said = [r for r in caplog.records if "its versions are gone" in r.message]
        assert len(said) == (vanished.name == "3")
    push_version(tiny_models[0.75], root / "tiny", 7)
    push_version(tiny_models[0.75], root / ".hidden", 7)
    manager.poll()
    assert mark(manager) == (7, 0.75) and manager.served() == {"tiny": 7}
    assert (root / "tiny" / ".served.json").exists()


def test_links_are_not_followed(manager, root, tiny_models, push_version, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    push_version(tiny_models[0.75], outside / "other", 9)
    (root / "tiny" / "9").symlink_to(outside / "other" / "9")
    (root / "other").symlink_to(outside / "other")
    manager = manager()
    assert manager.served() == {"tiny": 3}


def reload(manager, *configs):
    from tensorflow_serving.apis import model_management_pb2

    from cxrflow.serving import model_info

    ask = model_management_pb2.ReloadConfigRequest()
    ask.config.model_config_list.SetInParent()
    for name, path, versions, labels in configs:
        made = ask.config.model_config_list.config.add(name=name, base_path=path)
        made.model_platform = "tensorflow"
        if versions:
            made.model_version_policy.specific.versions.extend(versions)
        made.version_labels.update(labels)
    return model_info.reload(manager, ask)


def test_a_new_configuration(manager, root, tiny_models, push_version):
    from cxrflow.serving.status import StatusError

    push_version(tiny_models[0.75], root / "tiny", 7)
    manager = manager()
    reload(manager, ("tiny", str(root / "tiny"), [3, 7], {"old": 3}))
    assert mark(manager) == (7, 0.75)
    assert mark(manager, label="old") == (3, 0.25)
    for config, text in (
        (("tiny", "/etc", [], {}), "no folder inside the serving root"),
        (("tiny", str(root / ".." / "x"), [], {}), "no folder inside the serving root"),
        (("tiny", str(root), [], {}), "no folder inside the serving root"),
        (("tiny", "tiny", [7], {"old": 3}), "label to version 3 of model tiny, which is not"),
        (("", "tiny", [], {}), "unnamed"),
    ):
        with pytest.raises(StatusError, match=text):
            reload(manager, config)
        assert mark(manager, label="old") == (3, 0.25)  # as it was
    with pytest.raises(StatusError, match="names no model"):
        reload(manager)
    assert mark(manager, label="old") == (3, 0.25)
    reload(manager, ("again", "tiny", [], {}))
    assert manager.served() == {"again": 7}


def test_no_request_fails_while_versions_change(root, tiny_models, push_version):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from cxrflow.serving.server import running
    from cxrflow.serving.settings import ServerConfig

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tiny"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([gray_png(0)]))
    answers, errors, stop = [], [], threading.Event()

    def client(port):
        with grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not stop.is_set():
                try:
                    found = stub.Predict(request)
                    answers.append((found.model_spec.version.value, found.outputs["probabilities"]))
                except grpc.RpcError as error:
                    errors.append(error)

    def wait_for_answer(number):
        deadline = time.monotonic() + 60
        while number not in {n for n, _ in answers[-100:]} and time.monotonic() < deadline:
            time.sleep(0.02)

    with running(root, ServerConfig(grpc_port=0, rest_port=0, poll_seconds=0.1)) as server:
        threads = [threading.Thread(target=client, args=(server.grpc_port,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        wait_for_answer(3)
        for number in (4, 5, 6):
            push_version(tiny_models[0.75 if number % 2 else 0.25], root / "tiny", number)
            wait_for_answer(number)
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors
    assert {number for number, _ in answers} == {3, 4, 5, 6}
    expected = {3: 0.25, 4: 0.25, 5: 0.75, 6: 0.25}
    assert all(output.float_val[1] == expected[number] for number, output in answers)


def test_stopping_lets_requests_under_way_finish(root):
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    from cxrflow.serving.server import running
    from cxrflow.serving.settings import ServerConfig

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tiny"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([gray_png(0)]))
    with running(root, ServerConfig(grpc_port=0, rest_port=0)) as server:
        batcher = server.manager.statuses("tiny")[3].batcher
        run = batcher._run
        entered = threading.Event()
        batcher._run = lambda *args: (entered.set(), time.sleep(1), run(*args))[2]
        channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        future = stub.Predict.future(request)
        assert entered.wait(60)
    assert future.result().outputs["probabilities"].float_val[1] == 0.25
    channel.close()
