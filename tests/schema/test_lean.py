"""What makes imports quicker, and leaves nothing changed behind it."""

import gc
import subprocess
import sys

import pytest

from cxrflow.schema.lean import BESIDE_KERAS, lean_import, uncollected


def test_inside_nothing_is_looked_through_and_what_is_there_at_the_end_never() -> None:
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        kept = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(kept)
    assert not any(each is kept[0] for each in gc.get_objects())


def test_inside_another_and_with_the_collector_off_nothing_is_switched() -> None:
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        before = gc.get_freeze_count()
        with uncollected():
            pass
        assert not gc.isenabled() and gc.get_freeze_count() == before
    finally:
        gc.enable()


def test_a_failed_import_switches_it_on_again() -> None:
    with pytest.raises(ImportError), uncollected():
        import nothing_of_this_name  # noqa: F401
    assert gc.isenabled()


def test_what_keras_takes_along_is_hidden_and_found_afterwards() -> None:
    code = (
        "import sys\n"
        "from cxrflow.schema.lean import lean_import\n"
        "with lean_import():\n"
        f"    assert all(sys.modules[name] is None for name in {BESIDE_KERAS})\n"
        f"assert not set({BESIDE_KERAS}) & set(sys.modules)\n"
        "import pandas\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_loaded_already_stays() -> None:
    import pandas

    with lean_import():
        assert sys.modules["pandas"] is pandas
