"""Whatever is here to run the network with: TF-TRT, TensorFlow, LiteRT or ONNX Runtime."""

import importlib
import json
import os
import struct
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, Type

import numpy as np

from bundle import Bundle, Refused, Unfit, reason
from logits import litert_with_logits, onnx_with_logits
from out_of_distribution import Detector
from remedies import explain

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it on import

ENGINES = ("trt", "tf", "litert", "onnx")
TRT = "trt"  # the name of the variant that build_trt.py makes
_LITERT = (
    "ai_edge_litert.interpreter",
    "tflite_runtime.interpreter",
    "tensorflow.lite.python.interpreter",  # NVIDIA's TensorFlow has LiteRT's forerunner inside
)
# The first that the bundle has; float32 is what the others are compared with.
_VARIANTS = {
    "litert": ("litert_fp32", "litert_fp16", "litert_dynamic", "litert_int8"),
    "tf": ("frozen_graph",),
    "trt": (TRT,),
    "onnx": ("onnx",),
}
_RUNTIMES = {
    "litert": "litert",
    "tensorflow": "tf",
    "onnx": "onnx",
}  # model.json's names -> engines
_GPUS = ("/dev/nvidia0", "/dev/nvhost-gpu", "/dev/nvhost-ctrl-gpu")
_MAX_BATCH = 16  # images; more don't make it faster
_BYTES_PER_PIXEL = 1200  # of an image in a batch: activations of MobileNet, twice
TRT_TOLERANCE = 0.01  # of a probability: FP16
_TOLERANCE = 1e-3  # of other variants, where model.json doesn't tell


class Wanted(NamedTuple):
    """What the user asks for; None leaves the choice to us."""

    engine: Optional[str] = None
    variant: Optional[str] = None
    trt: Optional[str] = None  # folder
    batch: Optional[int] = None
    threads: int = 1


class Engine:
    """A network that is ready to run.

    Attributes: `name` for people, `runtime` (what of it changes answers), `variant`, `batch`
    (images at once, at most) and `tolerance` (how far a probability may be from the bundle's golden
    one).
    """

    def __init__(
        self,
        name: str,
        variant: str,
        batch: int,
        tolerance: float,
        predict: Callable[[np.ndarray], np.ndarray],
        exhausted: Tuple[Type[BaseException], ...] = (),
        runtime: str = "",
    ):
        """`predict` takes uint8 [n, S, S], n up to `batch`; `exhausted` are its memory errors."""
        self.runtime = runtime or name
        self.name, self.variant, self.batch, self.tolerance = name, variant, batch, tolerance
        self._predict, self._exhausted = predict, exhausted

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Gray uint8 [n, S, S] to probabilities float32 [n, C]; any n. NaN: its logit isn't finite.

        Halves the batch when memory ends. Raises Refused if it ends with one image, or if the
        network can't be run.
        """
        answers = []  # type: List[np.ndarray]
        done = 0
        while done < len(pixels):
            part = pixels[done : done + self.batch]
            try:
                answers.append(self._predict(part))
            except self._exhausted as error:
                if self.batch == 1:
                    raise Refused(f"out of memory with one image: {reason(error)}") from error
                self.batch = max(1, self.batch // 2)
                continue
            except Exception as error:  # whatever a runtime raises
                raise Refused(f"{self.name} failed: {reason(error)}") from error
            done += len(part)
        return np.concatenate(answers)


class Network(NamedTuple):
    """What is asked about images' pixels."""

    engine: Engine
    detector: Optional[Detector]  # of what is no chest X-ray; None where the bundle has none

    def run(self, pixels: np.ndarray) -> List[Tuple[np.ndarray, Optional[float]]]:
        """Returns probabilities [C] and the score of each of the gray images uint8 [n, S, S]."""
        probabilities = self.engine.run(pixels)
        if self.detector is None:
            return [(one, None) for one in probabilities]
        scores = self.detector.scores(pixels)
        return [(one, float(score)) for one, score in zip(probabilities, scores)]


def choose(bundle: Bundle, wanted: Wanted) -> Tuple[Engine, List[str]]:
    """The engine that runs, warm, and why those that would have come first don't.

    The order is TF-TRT, TensorFlow if there is a GPU, LiteRT, ONNX Runtime, TensorFlow.

    Raises:
        Refused: what is wanted isn't there, or nothing is.
    """
    if wanted.variant and wanted.variant != TRT:
        bundle.path(wanted.variant)  # refuses what the bundle hasn't
    names = [wanted.engine] if wanted.engine else _order(bundle, wanted)
    skipped = []  # type: List[str]
    unfit = False
    for name in names:
        try:
            engine = _OPENERS[name](bundle, _variant(name, bundle, wanted.variant), wanted)
            size = bundle.info["image_size"]
            answers = engine.run(np.zeros((1, size, size), np.uint8))  # also warms up
        except Refused as error:
            skipped.append(f"{name}: {error}")
            unfit = unfit or isinstance(error, Unfit)
            continue
        if answers.shape != (1, len(bundle.info["classes"])):
            raise Unfit(f"the variant {engine.variant} doesn't fit model.json")
        return engine, skipped
    raise (Unfit if unfit else Refused)("no engine can run: {}".format("; ".join(skipped)))


def _order(bundle: Bundle, wanted: Wanted) -> List[str]:
    if wanted.variant == TRT:
        return [TRT]
    if wanted.variant:
        runtime = bundle.info["variants"][wanted.variant]["runtime"]
        if runtime not in _RUNTIMES:
            raise Refused(f"{wanted.variant} runs with {runtime}, not with infer.py")
        return [_RUNTIMES[runtime]]
    has_gpu = any(os.path.exists(path) for path in _GPUS)
    others = ["tf", "litert", "onnx"] if has_gpu else ["litert", "onnx", "tf"]
    return [TRT, *others] if wanted.trt or os.path.isdir(trt_folder(bundle, wanted.trt)) else others


def trt_folder(bundle: Bundle, wanted: Optional[str]) -> str:
    """Where build_trt.py's engine is looked for."""
    return wanted or bundle.folder + ".trt"


def _variant(engine: str, bundle: Bundle, wanted: Optional[str]) -> str:
    """The variant that an engine runs. Raises Refused."""
    if engine == TRT:
        if wanted not in (None, TRT):
            raise Refused(f"it doesn't run {wanted}")
        return TRT
    there = [
        name
        for name, one in bundle.info["variants"].items()
        if _RUNTIMES.get(one["runtime"]) == engine
    ]
    if wanted and wanted not in there:
        raise Refused(f"it doesn't run {wanted}")
    if wanted:
        return wanted
    first = [name for name in _VARIANTS[engine] if name in there] + there
    if not first:
        raise Refused("the bundle has no variant for it")
    return first[0]


def _open_litert(bundle: Bundle, variant: str, wanted: Wanted) -> Engine:
    interpreter_class, package = _litert()
    path, classes = bundle.path(variant), len(bundle.info["classes"])
    size = bundle.info["image_size"]
    try:
        with open(path, "rb") as file:
            content = litert_with_logits(file.read())
        interpreter = interpreter_class(model_content=content, num_threads=wanted.threads)
        interpreter.allocate_tensors()
    except (OSError, RuntimeError, ValueError, IndexError, struct.error) as error:
        # An older runtime may lack an operation; the one that the host has lacks none.
        refusal = Unfit if package == _LITERT[0].split(".")[0] else Refused
        raise refusal(f"{path} can't be loaded: {reason(error)}") from error
    (source,), (target, *logits) = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = tuple(source["shape"]), tuple(target["shape"])
    dtype = bundle.info["variants"][variant].get("input_dtype", source["dtype"])
    if (
        shapes != ((1, size, size, 3), (1, classes))
        or target["dtype"] != np.float32
        or source["dtype"] != np.dtype(dtype)
    ):
        raise Unfit(f"the variant {variant} doesn't fit model.json")

    def predict(pixels: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source["index"], _to_rgb(pixels, source["dtype"]))
        interpreter.invoke()
        return finite(*[interpreter.get_tensor(one["index"]) for one in (target, *logits)])

    predict.model = content  # type: ignore[attr-defined]  # the interpreter reads it
    name = f"LiteRT ({package}), {variant}, {wanted.threads} threads"
    runtime = f"LiteRT ({package})"
    older = package != _LITERT[0].split(".")[0]
    tolerance = _tolerance(bundle, variant, older)
    return Engine(name, variant, 1, tolerance, predict, runtime=runtime)


def _open_tf(bundle: Bundle, variant: str, wanted: Wanted) -> Engine:
    from frozen import load_frozen

    tf = _tensorflow(wanted.threads)
    ends = bundle.info["frozen_graph"]
    try:
        network = load_frozen(bundle.path(variant), ends["input"], ends["output"])
    except (OSError, ValueError) as error:
        raise Refused(reason(error)) from error
    batch = wanted.batch or fitting_batch(bundle.info["image_size"])

    def predict(pixels: np.ndarray) -> np.ndarray:
        return network(tf.constant(_to_rgb(pixels, np.float32))).numpy()

    name = f"TensorFlow {tf.__version__} on {_device(tf)}, {variant}"
    runtime = f"TensorFlow on {_device(tf)}"
    tolerance, exhausted = _tolerance(bundle, variant), (tf.errors.ResourceExhaustedError,)
    return Engine(name, variant, batch, tolerance, predict, exhausted, runtime)


def _open_trt(bundle: Bundle, variant: str, wanted: Wanted) -> Engine:
    from build_trt import ENGINE_INFO, SAVED_MODEL, load_saved_model

    folder = trt_folder(bundle, wanted.trt)
    try:
        with open(os.path.join(folder, ENGINE_INFO), encoding="utf-8") as file:
            engine = json.load(file)
        batch, made_from = int(engine["batch"]), engine["frozen_graph_sha256"]
    except FileNotFoundError:
        raise Refused(f"there is no engine in {folder}; build_trt.py makes one") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Refused(f"{folder}: {ENGINE_INFO}: {reason(error)}") from error
    graph = bundle.info["variants"].get("frozen_graph", {}).get("file")
    if made_from != bundle.sha256.get(graph):
        raise Refused(f"{folder} was built from another bundle; run build_trt.py again")
    tf = _tensorflow(wanted.threads)
    try:
        network = load_saved_model(os.path.join(folder, SAVED_MODEL))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise Refused(f"{folder} can't be loaded: {reason(error)}") from error

    def predict(pixels: np.ndarray) -> np.ndarray:
        # An engine is built for one batch size; for another, TensorRT would build one more.
        full = np.zeros((batch, *pixels.shape[1:]), np.uint8)
        full[: len(pixels)] = pixels
        return network(_to_rgb(full, np.float32))[: len(pixels)]

    name = f"TF-TRT, TensorFlow {tf.__version__} on {_device(tf)}"
    return Engine(name, variant, batch, TRT_TOLERANCE, predict, runtime="TF-TRT")


def _open_onnx(bundle: Bundle, variant: str, wanted: Wanted) -> Engine:
    try:
        import onnxruntime
    except ImportError as error:
        raise Refused(explain("onnxruntime", error)) from None
    path, classes = bundle.path(variant), len(bundle.info["classes"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = wanted.threads
    options.log_severity_level = 3  # errors
    there = onnxruntime.get_available_providers()
    providers = [one for one in ("CUDAExecutionProvider", "CPUExecutionProvider") if one in there]
    try:
        content = onnx_with_logits(_unpacked(path))
    except Exception as error:  # lzma's own among them, a module that some builds of Python lack
        refusal = Refused if isinstance(error, (ImportError, OSError)) else Unfit
        raise refusal(f"{path} can't be loaded: {reason(error)}") from error
    try:
        session = onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # its own, of no common class
        raise Refused(f"{path} can't be loaded: {reason(error)}") from error
    del content
    sources, targets = session.get_inputs(), session.get_outputs()
    size = bundle.info["image_size"]
    if (
        [list(one.shape[1:]) for one in sources] != [[size, size, 3]]
        or sources[0].type != "tensor(float)"
        or targets[0].type != "tensor(float)"
        or list(targets[0].shape[1:]) != [classes]
        or len(targets) > 2
    ):
        raise Unfit(f"the variant {variant} doesn't fit model.json")
    source = sources[0]

    def predict(pixels: np.ndarray) -> np.ndarray:
        return finite(*session.run(None, {source.name: _to_rgb(pixels, np.float32)}))

    runtime = f"ONNX Runtime on the {'GPU' if session.get_providers()[0][:2] == 'CU' else 'CPU'}"
    name = f"{runtime}, {onnxruntime.__version__}, {variant}, {wanted.threads} threads"
    tolerance = _tolerance(bundle, variant)
    return Engine(name, variant, wanted.batch or 1, tolerance, predict, runtime=runtime)


def _unpacked(path: str) -> bytes:
    """A file's bytes, out of its .xz container if it is in one."""
    with open(path, "rb") as file:
        content = file.read()
    if not path.endswith(".xz"):
        return content
    import lzma  # some builds of Python lack it

    return lzma.decompress(content)


def finite(probabilities: np.ndarray, logits: Optional[np.ndarray] = None) -> np.ndarray:
    """Probabilities [n, C], NaN where their logits [n, C] aren't finite.

    The sigmoid of infinity is 1, of minus infinity 0: as good as answers.
    """
    if logits is None or np.isfinite(logits).all():
        return probabilities
    return np.where(np.isfinite(logits), probabilities, np.float32(np.nan))


_OPENERS: Dict[str, Callable[[Bundle, str, Wanted], Engine]] = {
    "trt": _open_trt,
    "tf": _open_tf,
    "litert": _open_litert,
    "onnx": _open_onnx,
}


def fitting_batch(image_size: int, meminfo: str = "/proc/meminfo") -> int:
    """How many images of `image_size` pixels fit half of the free memory, 1 to 16."""
    from building import memory_mb

    free = memory_mb(meminfo).get("MemAvailable", 0) * 2**20
    return int(min(_MAX_BATCH, max(1, free // 2 // (image_size**2 * _BYTES_PER_PIXEL))))


def _to_rgb(pixels: np.ndarray, dtype: Any) -> np.ndarray:
    """Gray uint8 [n, S, S] to [n, S, S, 3] of `dtype`, 0-255."""
    return np.repeat(pixels[..., None].astype(dtype), 3, axis=-1)


def _tolerance(bundle: Bundle, variant: str, older: bool = False) -> float:
    """How far a probability may be from the golden one; `older`: of an older runtime than that."""
    known = bundle.info["variants"][variant]
    found = known.get("golden_tolerance", _TOLERANCE)
    return float(known.get("golden_tolerance_older", found) if older else found)


def _litert() -> Tuple[Any, str]:
    """An Interpreter class and where it is from. Raises Refused."""
    problems = []  # type: List[str]
    for name in _LITERT:
        try:
            return importlib.import_module(name).Interpreter, name.split(".")[0]
        except ImportError as error:
            problems.append(explain(name, error))
        except AttributeError as error:
            problems.append(f"{name}: {error}")
    raise Refused(", ".join(problems))


def _tensorflow(threads: int) -> Any:
    """TensorFlow, told to take no more memory than it needs. Raises Refused."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise Refused(explain("tensorflow", error)) from error
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:  # it runs already
        pass
    return tf


def _device(tf: Any) -> str:
    return "the GPU" if tf.config.list_physical_devices("GPU") else "the CPU"
