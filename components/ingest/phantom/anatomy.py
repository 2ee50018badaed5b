"""The normal chest: its proportions, and the layers that a radiograph is summed from.

Everything is drawn upright on a SIZE x SIZE grid in units of the image's width (x to the right, y
down), and turned, shifted and enlarged to the final image at the end. The patient's right lung is
side 0, on the image's left.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

SIZE = 512
X = ((np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE)[None, :]
Y = ((np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE)[:, None]
MIDLINE = 0.5
SIGN = (-1, 1)  # direction of x from the midline to either side
_COARSE = 128  # grid of what is smooth anyway
_SUBPIXEL = 4  # bits of fraction in OpenCV's drawing coordinates


@dataclass
class Chest:
    """Proportions of one chest in one image, in image widths; pairs are right, left lung."""

    top: float  # y of the lungs' apices
    base: list[float]  # y of the costophrenic angles
    dome: list[float]  # how far the diaphragm rises above them
    width: float  # from the midline to the lateral lung wall
    heart: list[float]  # from the midline to the heart's borders
    shift: float  # of heart and mediastinum to the image's right
    aorta: float  # prominence of the aortic knob
    body: float  # half width of the trunk
    air: float  # contrast of lung against soft tissue
    vessels: float  # strength of lung markings
    ribs: float  # contrast of bones
    blades: float  # how much of the lungs the shoulder blades cover
    breasts: float

    def wall(self, side: int) -> np.ndarray:
        """Distance of the lateral lung wall from the midline at each row, `[SIZE, 1]`."""
        f = np.clip((Y - self.top) / (self.base[side] - self.top), 1e-3, 1)
        return self.width * (1 - (1 - f) ** 2.2) ** 0.55

    def diaphragm(self, side: int) -> np.ndarray:
        """Height of the diaphragm at each column, `[1, SIZE]`."""
        u = lateral(side) / self.width
        outer = np.clip((u - 0.45) / 0.55, 0, 1.2) ** 2.4
        inner = 0.45 * np.clip((0.45 - u) / 0.45, 0, 1) ** 2
        return self.base[side] - self.dome[side] * (1 - outer - inner)


@dataclass
class Layers:
    """What a radiograph is summed from, all float32 `[SIZE, SIZE]`.

    lungs: share of lung behind each pixel on either side, 0..1; air: the same for both, less heart
    and opacities; vessels and bones: lines over lungs and everywhere; glow: brightness to add.
    """

    chest: Chest
    lungs: list[np.ndarray]
    air: np.ndarray
    vessels: np.ndarray
    bones: np.ndarray
    glow: np.ndarray
    hila: list[tuple[float, float]]

    def opacify(self, opacity: np.ndarray) -> None:
        """Takes the share `opacity` (0..1) of the air away."""
        self.air *= 1 - opacity
        self.vessels *= 1 - 0.7 * opacity


def lateral(side: int) -> np.ndarray:
    """Distance from the midline towards the given side, `[1, SIZE]`."""
    return (X - MIDLINE) * SIGN[side]


def edge(distance: np.ndarray, softness: float) -> np.ndarray:
    """0 outside, 1 inside, with a ramp `softness` wide at a signed distance of 0; its shape."""
    return np.clip(distance / softness + 0.5, 0, 1)


def noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth unit-variance noise with about `cells` waves across, `[SIZE, SIZE]`."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    smooth = cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return smooth / smooth.std()


def blob(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """A Gaussian of the given radii (standard deviations) and height 1, `[SIZE, SIZE]`."""
    return np.exp(-(((X - x) / rx) ** 2) / 2) * np.exp(-(((Y - y) / ry) ** 2) / 2)


def draw_lines(lines: list[np.ndarray], width: float) -> np.ndarray:
    """Open polylines `[n, 2]` on a canvas, uint8 `[SIZE, SIZE]`; all in image widths."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    points = [_fixed(line) for line in lines]
    cv2.polylines(canvas, points, False, 255, max(1, round(width * SIZE)), cv2.LINE_AA, _SUBPIXEL)
    return canvas


def draw_area(outline: np.ndarray) -> np.ndarray:
    """A filled polygon `[n, 2]`, in image widths, on a canvas, uint8 `[SIZE, SIZE]`."""
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(canvas, [_fixed(outline)], 255, cv2.LINE_AA, _SUBPIXEL)
    return canvas


def soften(canvas: np.ndarray, softness: float) -> np.ndarray:
    """uint8 0..255 to float32 0..1, `[SIZE, SIZE]`, blurred by `softness` image widths."""
    smooth = cv2.GaussianBlur(canvas, (0, 0), softness * SIZE)
    return smooth.astype(np.float32) / 255


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(points) * SIZE * 2**_SUBPIXEL).astype(np.int32)


def sample_chest(
    patient: np.random.Generator, image: np.random.Generator, age: int, sex: str, view: str
) -> Chest:
    """A normal chest: lasting traits drawn from `patient`, breath and position from `image`.

    AP films are taken lying or sitting, from the front: the heart looks larger, the breath is
    shallower and the shoulder blades stay over the lungs.
    """
    ap = view == "AP"
    width = patient.uniform(0.335, 0.375) * (0.96 if sex == "F" else 1.0)
    ratio = patient.uniform(0.41, 0.47) + (0.04 if ap else 0) + (0.04 if age < 6 else 0)
    slim = patient.uniform(-1, 1)
    right_share = patient.uniform(0.3, 0.36)
    dome = patient.uniform(0.065, 0.1)
    knob = patient.uniform(0, 0.02) + 0.0004 * age
    breasts = patient.uniform(0.03, 0.09) if sex == "F" and age > 13 else 0.0
    bones = patient.uniform(0.8, 1.2) * (1 - 0.003 * max(age - 50, 0))

    breath = image.uniform(-1, 1) - (0.9 if ap else 0)
    base = 0.735 + 0.022 * breath
    return Chest(
        top=0.145 + image.uniform(-0.012, 0.012),
        base=[base - 0.006, base + 0.006],
        dome=[dome + 0.022, dome],
        width=width,
        heart=[2 * width * ratio * right_share, 2 * width * ratio * (1 - right_share)],
        shift=image.uniform(-0.01, 0.01),
        aorta=knob,
        body=width + 0.085 - 0.025 * slim,
        air=(0.37 if ap else 0.42) + image.uniform(-0.025, 0.025),
        vessels=patient.uniform(0.8, 1.1) * (1.1 if ap else 1.0),
        ribs=bones,
        blades=image.uniform(0.4, 1.0) if ap else image.uniform(0.0, 0.25),
        breasts=breasts,
    )


def draw_chest(chest: Chest, rng: np.random.Generator) -> Layers:
    """The layers of a normal chest. `rng` draws what a patient keeps: vessels, tissue, bones."""
    lungs = [_lung(chest, side) for side in (0, 1)]
    hila = [(MIDLINE - 0.085, 0.43), (MIDLINE + 0.085, 0.415)]
    middle = _mediastinum(chest)
    both = lungs[0] + lungs[1]
    air = both * (1 - middle)
    texture = 0.35 * noise(rng, 24) + 0.65 * noise(rng, 80)
    air *= 1 - 0.035 * texture
    between = edge(Y - chest.top - 0.02, 0.2) * edge(max(chest.base) - 0.02 - Y, 0.12)
    glow = _body(chest) + 0.12 * middle * between + _spine(chest) - 0.06 * _trachea(chest)
    glow -= _bowel(chest, rng)
    return Layers(
        chest=chest,
        lungs=lungs,
        air=air,
        vessels=_vessels(chest, hila, rng) * air,
        bones=_bones(chest, rng),
        glow=glow,
        hila=hila,
    )


def compose(layers: Layers) -> np.ndarray:
    """Brightness `[SIZE, SIZE]`, float32, about 0 (air) to 1 (bone over the abdomen)."""
    chest = layers.chest
    return (
        layers.glow
        - chest.air * layers.air
        + 0.13 * chest.vessels * layers.vessels
        + chest.ribs * layers.bones * (0.4 + 0.6 * layers.air)
    )


def _lung(chest: Chest, side: int) -> np.ndarray:
    u = lateral(side)
    inside = chest.wall(side) - u
    depth = 0.72 + 0.28 * np.clip(inside / 0.07, 0, 1)  # the rim is thinner than the middle
    column = edge(Y - chest.top, 0.01) * edge(chest.diaphragm(side) - Y, 0.007)
    return edge(inside, 0.008) * edge(u - 0.02, 0.02) * column * depth


def _mediastinum(chest: Chest) -> np.ndarray:
    """Heart, great vessels and what lies around the spine, 0..1."""
    low = max(chest.base) - 0.08
    right, left = chest.heart
    # Height, distance of the right border and of the left from the midline.
    rows, *borders = np.array(
        [
            (0.0, 0.06, 0.06),
            (0.2, 0.058, 0.06),
            (0.3, 0.06, 0.068 + chest.aorta),
            (0.36, 0.06, 0.062 + chest.aorta),
            (0.43, 0.065, 0.075),
            (0.48, 0.6 * right + 0.03, 0.4 * left + 0.05),
            (low - 0.08, right, 0.9 * left),
            (low, 0.95 * right, left),
            (low + 0.08, 0.8 * right, 0.93 * left),
            (1.0, 0.7 * right, 0.7 * left),
        ]
    ).T
    smooth = [
        cv2.GaussianBlur(np.interp(Y, rows, border).astype(np.float32), (0, 0), 0.018 * SIZE)
        for border in borders
    ]
    x = X - MIDLINE - chest.shift * edge(Y - 0.3, 0.2)
    return edge(smooth[0] + x, 0.02) * edge(smooth[1] - x, 0.02)


def _body(chest: Chest) -> np.ndarray:
    """Soft tissue: neck, shoulders, trunk, arms, breasts, abdomen; drawn coarsely and enlarged."""
    step = SIZE // _COARSE
    x, y = np.abs(X[:, ::step] - MIDLINE), Y[::step]
    neck, shoulder = 0.1, chest.body + 0.16
    slope = np.clip((y - 0.02) / 0.17, 0, 1)
    outline = neck + (shoulder - neck) * slope**1.4
    outline = np.where(y > 0.19, np.maximum(chest.body, shoulder - 0.5 * (y - 0.19)), outline)
    inside = edge(outline - x, 0.03)
    body = inside * (0.4 + 0.27 * np.clip((outline - x) / 0.16, 0, 1) ** 0.6)
    arm = edge(x - chest.body - 0.02, 0.02) * edge(chest.body + 0.2 - x, 0.03) * edge(y - 0.25, 0.1)
    body = np.maximum(body, 0.5 * arm)
    abdomen = edge(y - max(chest.base) + 0.01, 0.14) * edge(chest.body - x, 0.1)
    body += 0.12 * abdomen
    if chest.breasts:
        low = chest.base[0] - 0.06
        for x0 in (0.19, -0.19):
            across, down = (X[:, ::step] - MIDLINE - x0) / 0.15, (y - low) / 0.13
            shade = np.clip(1 - across**2 - down**2, 0, 1) ** 0.7
            body += chest.breasts * shade * edge(0.03 + chest.width - np.abs(x), 0.1)
    return cv2.resize(body.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def _spine(chest: Chest) -> np.ndarray:
    column = edge(0.042 - np.abs(X - MIDLINE), 0.012)
    discs = 0.8 + 0.2 * np.cos(2 * np.pi * Y / 0.052) ** 2
    return 0.055 * chest.ribs * column * discs


def _bowel(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """Gas in the stomach under the left diaphragm, and in loops below."""
    gas = np.zeros((SIZE, SIZE), np.float32)
    if rng.random() < 0.6:
        x = MIDLINE + rng.uniform(0.13, 0.22)
        top = chest.base[1] - chest.dome[1] + rng.uniform(0.02, 0.04)
        radius = rng.uniform(0.03, 0.06)
        bubble = edge(1 - ((X - x) / (1.5 * radius)) ** 2 - ((Y - top - radius) / radius) ** 2, 0.4)
        fluid = edge(top + rng.uniform(1, 2) * radius - Y, 0.01)
        gas += rng.uniform(0.08, 0.18) * bubble * fluid
    for _ in range(int(rng.integers(0, 6))):
        x, y = rng.uniform(0.25, 0.75), rng.uniform(max(chest.base) + 0.06, 1)
        loop = blob(x, y, rng.uniform(0.01, 0.04), rng.uniform(0.01, 0.03))
        gas += rng.uniform(0.04, 0.12) * loop
    return gas


def _trachea(chest: Chest) -> np.ndarray:
    return edge(0.017 - np.abs(X - MIDLINE + 0.006), 0.008) * edge(0.37 - Y, 0.04)


def _bones(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """Ribs, clavicles and shoulder blades: brightness about 0..0.15."""
    back, front, rims, clavicles, cage = [], [], [], [], []
    s = np.linspace(0, 1, 14)
    tilt = rng.uniform(-0.012, 0.012)
    for side in (0, 1):
        sign = SIGN[side]
        walls = chest.wall(side)[:, 0]
        for i in range(9):
            y0 = chest.top + 0.025 + 0.063 * i
            drop = 0.035 + 0.014 * i + tilt
            reach = np.interp(y0 + drop, Y[:, 0], walls) + 0.012
            y = y0 - 0.02 * np.sin(np.pi * s) + drop * s**2.2
            x = MIDLINE + sign * (0.035 + (reach - 0.035) * np.sin(s * np.pi / 2))
            rib = np.stack([x, y], axis=1)
            back.append(rib)
            rims += [rib + np.array([0, half]) for half in (-0.0095, 0.0095)]
            if 1 <= i < 7:
                y = y0 + drop + (0.055 + 0.01 * i) * s
                x = MIDLINE + sign * (reach - (reach - 0.14) * s**1.5)
                front.append(np.stack([x, y], axis=1))
        y = np.linspace(chest.top + 0.04, 0.85, 40)
        cage.append(np.stack([MIDLINE + sign * (np.interp(y, Y[:, 0], walls) + 0.006), y], axis=1))
        y = chest.top + 0.055 - 0.075 * s + 0.02 * np.sin(2 * np.pi * s)
        clavicles.append(np.stack([MIDLINE + sign * (0.04 + 0.33 * s), y], axis=1))
    bones = 0.075 * soften(draw_lines(back, 0.019), 0.0016)
    bones += 0.05 * soften(draw_lines(rims, 0.002), 0.0012)
    bones += 0.045 * soften(draw_lines(front, 0.018), 0.003)
    bones += 0.12 * soften(draw_lines(clavicles, 0.022), 0.0025)
    bones += 0.13 * soften(draw_lines(cage, 0.01), 0.003)  # ribs seen end on along the wall
    for side in (0, 1):
        sign = SIGN[side]
        inner = chest.width * (1.08 - 0.35 * chest.blades)
        blade = np.array(
            [(inner, 0.24), (inner + 0.03, 0.5), (inner + 0.13, 0.25), (inner + 0.1, 0.2)]
        )
        blade[:, 0] = MIDLINE + sign * blade[:, 0]
        bones += 0.07 * soften(draw_area(blade), 0.004)
    return bones


def _vessels(chest: Chest, hila: list[tuple[float, float]], rng: np.random.Generator) -> np.ndarray:
    """Pulmonary vessels that fan out from the hila and taper, 0..1."""
    lines_by_width: dict[float, list[Any]] = {0.009: [], 0.0055: [], 0.003: []}
    t = np.linspace(0, 1, 8)
    for side, (hx, hy) in enumerate(hila):
        sign = SIGN[side]
        angles = np.linspace(-1.4, 1.5, 13)
        for angle in angles + rng.normal(0, 0.12, angles.size):
            length = rng.uniform(0.12, 0.24) * (1 + 0.4 * abs(np.sin(angle)))
            heading = angle + rng.normal(0, 0.5) * t + 0.35 * np.sin(rng.uniform(3, 7) * t + angle)
            line = _walk((hx, hy), heading, length, sign)
            lines_by_width[0.009].append(line[:4])
            lines_by_width[0.0055].append(line[3:6])
            lines_by_width[0.003].append(line[5:])
            for joint in (2, 4, 5):
                fork = heading[joint] + rng.choice([-1, 1]) * rng.uniform(0.4, 0.9) * (1 - 0.4 * t)
                twig = _walk(line[joint], fork, length * rng.uniform(0.3, 0.6), sign)
                lines_by_width[0.003].append(twig)
    vessels = np.zeros((SIZE, SIZE), np.float32)
    for width, lines in lines_by_width.items():
        drawn = soften(draw_lines(lines, width), 0.0015)
        vessels = np.maximum(vessels, drawn * (0.45 + 60 * width))
    hilum = sum(blob(x, y, 0.018, 0.035) for x, y in hila)
    return vessels + 0.9 * hilum


def _walk(start: tuple[float, float], heading: np.ndarray, length: float, sign: int) -> np.ndarray:
    """The line `[n + 1, 2]` from a point along `heading`, radians from lateral towards the feet."""
    steps = np.stack([sign * np.cos(heading), np.sin(heading)], axis=1) * (length / heading.size)
    return np.concatenate([[start], start + np.cumsum(steps, axis=0)])
