"""The visual sign of each finding: `reshape` changes the chest before, `paint` the layers after.

Signs follow the textbook picture on a frontal film. `severity` runs from 0 (just visible) to 1;
`rng` is the patient's own for that finding, so that a lesion stays where it is between follow-ups.
"""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from cxrflow.components.ingest.phantom.anatomy import (
    MIDLINE,
    SIGN,
    SIZE,
    Chest,
    Layers,
    X,
    Y,
    blob,
    draw_area,
    draw_lines,
    edge,
    lateral,
    noise,
    soften,
)

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 of the upright image, in image widths
Rng = np.random.Generator
_NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)


def reshape(name: str, chest: Chest, rng: Rng, severity: float) -> None:
    """Changes the proportions of the chest in place where the finding is one of shape."""
    if name in _RESHAPE:
        _RESHAPE[name](chest, rng, severity)


def paint(name: str, layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """Draws the finding into the layers in place; returns a box around each part to be seen."""
    return [box for box in _PAINT[name](layers, rng, severity) if box != _NOWHERE]


def _box(mask: np.ndarray, threshold: float = 0.25) -> Box:
    """The rectangle around what exceeds the threshold."""
    seen = mask > threshold
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not rows.size:
        return _NOWHERE
    return (columns[0] / SIZE, rows[0] / SIZE, (columns[-1] + 1) / SIZE, (rows[-1] + 1) / SIZE)


def _lung_box(chest: Chest, top: float = 0.0) -> Box:
    """Around both lungs, from the share `top` of their height down."""
    low = max(chest.base)
    return (MIDLINE - chest.width, low - (1 - top) * (low - chest.top), MIDLINE + chest.width, low)


def _sides(rng: Rng, both: float) -> tuple[int, ...]:
    """One side, or both with the given probability."""
    first = int(rng.integers(2))
    return (0, 1) if rng.random() < both else (first,)


def _place(chest: Chest, side: int, rng: Rng, low: float, high: float) -> tuple[float, float]:
    """A point in the lung clear of the heart, between the shares `low` and `high` of its height."""
    height = rng.uniform(low, high)
    y = chest.top + height * (chest.base[side] - chest.dome[side] - chest.top)
    wall = float(np.interp(y, Y[:, 0], chest.wall(side)[:, 0]))
    inner = 0.1 if y < 0.45 else chest.heart[side] * 0.8 + 0.03
    u = inner + (wall - inner) * rng.uniform(0.25, 0.8)
    return MIDLINE + (u if side else -u), y


def _outline(x: float, y: float, radius: float, rng: Rng, lobulation: float) -> np.ndarray:
    """A closed curve around a point, round up to the share `lobulation`."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    r = np.ones_like(angle)
    for k in range(2, 7):
        r += lobulation / np.sqrt(k) * rng.normal() * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    r *= radius
    return np.stack([x + r * np.cos(angle), y + r * np.sin(angle)], axis=1)


# --- Shape --------------------------------------------------------------------------------------


def _enlarge_heart(chest: Chest, rng: Rng, severity: float) -> None:
    growth = 1.28 + 0.32 * severity
    chest.heart = [chest.heart[0] * growth, min(chest.heart[1] * growth, 0.93 * chest.width)]


def _show_heart(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    chest = layers.chest
    middle, bottom = MIDLINE + chest.shift, max(chest.base)
    return [(middle - chest.heart[0], bottom - 0.28, middle + chest.heart[1], bottom)]


def _overinflate(chest: Chest, rng: Rng, severity: float) -> None:
    """Lungs too large and too dark: flat low diaphragm, narrow heart, thin markings."""
    chest.base = [b + 0.03 + 0.03 * severity for b in chest.base]
    chest.dome = [d * (0.35 - 0.25 * severity) for d in chest.dome]
    chest.width *= 1.03
    chest.heart = [h * (0.85 - 0.1 * severity) for h in chest.heart]
    chest.air *= 1.12 + 0.1 * severity
    chest.vessels *= 0.6 - 0.2 * severity


def _show_lungs(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    return [_lung_box(layers.chest)]


def _collapse(chest: Chest, rng: Rng, severity: float) -> None:
    """Volume loss: the diaphragm rises and the heart moves to the side of the collapse."""
    side = int(rng.integers(2))
    chest.base[side] -= 0.02 + 0.02 * severity
    chest.dome[side] += 0.035 + 0.04 * severity
    chest.shift += (0.015 + 0.015 * severity) * SIGN[side]


def _draw_atelectasis(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """Plate-like bands above the raised diaphragm."""
    side = int(rng.integers(2))  # the same draw as in _collapse: both start from the same generator
    chest, sign = layers.chest, SIGN[side]
    dome = chest.base[side] - chest.dome[side]
    bands = []
    for i in range(int(rng.integers(2, 4))):
        s = np.linspace(0, 1, 8)
        start, length = rng.uniform(0.07, 0.13), rng.uniform(0.15, 0.22)
        slope, sag = rng.uniform(-0.05, 0.02), rng.uniform(-0.01, 0.01)
        y = dome - 0.03 - 0.05 * i - rng.uniform(0, 0.02) + slope * s + sag * np.sin(np.pi * s)
        bands.append(np.stack([MIDLINE + sign * (start + length * s), y], axis=1))
    plates = soften(draw_lines(bands, 0.011 + 0.007 * severity), 0.003) * (layers.lungs[side] > 0.3)
    x = MIDLINE + sign * 0.17
    crowding = 0.3 * blob(x, dome, 0.1, 0.035) * layers.lungs[side]
    layers.opacify(np.clip((0.6 + 0.3 * severity) * plates + crowding, 0, 1))
    x0, y0, x1, y1 = _box(plates)
    return [(x0, y0 - 0.01, x1, max(y1, dome + 0.02))]


def _shrink(chest: Chest, rng: Rng, severity: float) -> None:
    """Stiff lungs are small lungs."""
    chest.base = [b - 0.015 - 0.02 * severity for b in chest.base]


# --- Pleura -------------------------------------------------------------------------------------


def _draw_effusion(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """Fluid fills the costophrenic angle and climbs the wall: a meniscus."""
    chest, boxes = layers.chest, []
    for side in _sides(rng, 0.35):
        amount = severity * rng.uniform(0.8, 1.0)
        level = chest.base[side] - chest.dome[side] * 0.75 - 0.015 - 0.2 * amount
        u = lateral(side)
        climb = 0.1 * np.exp(-np.clip(chest.width - u, 0, None) / 0.05)
        fluid = edge(Y - level + climb, 0.022) * (u > 0)
        layers.glow += 0.05 * fluid * layers.air
        layers.opacify(0.95 * fluid)
        boxes.append(_box(fluid * layers.lungs[side]))
    return boxes


def _draw_pneumothorax(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """The lung's edge as a thin line; beyond it black air without markings."""
    side = int(rng.integers(2))
    chest, u = layers.chest, lateral(side)
    fall = 0.035 + 0.09 * severity
    shrunken = replace(chest, top=chest.top + fall, width=chest.width - 0.6 * fall)
    height = np.clip((Y - chest.top) / (chest.base[side] - chest.top), 0, 1)
    inside = shrunken.wall(side) - 0.05 * (1 - height) - u
    beyond = edge(-inside, 0.006) * (u > 0.03) * layers.lungs[side]
    line = np.exp(-((inside / 0.0035) ** 2)) * (layers.lungs[side] > 0.3) * (u > 0.03)
    layers.vessels *= 1 - beyond
    layers.glow -= 0.085 * beyond
    layers.opacify((0.1 + 0.25 * severity) * edge(inside, 0.006) * (layers.lungs[side] > 0))
    layers.glow += 0.1 * line
    return [_box(beyond)]


def _draw_thickening(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """A dense irregular rind along the lateral wall and over the apex."""
    chest, boxes = layers.chest, []
    for side in _sides(rng, 0.4):
        u = lateral(side)
        bumps = np.interp(Y, np.linspace(0, 1, 24), rng.uniform(0.6, 1.3, 24)).astype(np.float32)
        wave = cv2.GaussianBlur(bumps, (0, 0), 0.012 * SIZE)
        start, stop = rng.uniform(0.0, 0.15), rng.uniform(0.65, 0.95)
        height = (Y - chest.top) / (chest.base[side] - chest.top)
        extent = edge(height - start, 0.1) * edge(stop - height, 0.1)
        cap = 0.8 * edge(0.3 - height, 0.2)
        depth = (0.022 + 0.022 * severity) * (wave * extent + cap)
        rind = edge(u - chest.wall(side) + depth, 0.006) * (layers.lungs[side] > 0.05)
        layers.opacify(0.9 * rind)
        layers.glow += 0.05 * rind
        boxes.append(_box(rind))
    return boxes


# --- Lung ---------------------------------------------------------------------------------------


def _draw_nodules(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """One to four round shadows under 3 cm (an image is about 40 cm wide)."""
    boxes = []
    for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.3, 0.3, 0.25, 0.15]))):
        x, y = _place(layers.chest, int(rng.integers(2)), rng, 0.12, 0.92)
        radius = 0.016 + 0.012 * severity * rng.uniform(0.7, 1.0)
        disc = soften(draw_area(_outline(x, y, radius, rng, 0.05)), 0.002)
        layers.opacify(0.9 * disc)
        layers.glow += 0.06 * disc
        boxes.append(_box(disc))
    return boxes


def _draw_mass(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """A lobulated shadow over 3 cm."""
    x, y = _place(layers.chest, int(rng.integers(2)), rng, 0.15, 0.85)
    radius = 0.045 + 0.035 * severity
    bulk = soften(draw_area(_outline(x, y, radius, rng, 0.12)), 0.003)
    layers.opacify(0.92 * bulk)
    layers.glow += 0.06 * bulk
    return [_box(bulk)]


def _draw_consolidation(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """A dense lobe that ends at its fissure, with air bronchograms."""
    side, upper = int(rng.integers(2)), rng.random() < 0.45
    u = lateral(side)
    tilt = rng.uniform(-0.15, 0.25)
    fissure = 0.43 + tilt * (u - 0.17) + rng.uniform(-0.03, 0.03)
    extent = 0.12 + 0.12 * severity
    if upper:
        lobe = edge(fissure - Y, 0.008) * edge(Y - fissure + extent, 0.09)
    else:
        lobe = edge(Y - fissure - 0.02, 0.008) * edge(fissure + 0.02 + extent - Y, 0.09)
    lobe = lobe * edge(u - 0.05, 0.03) * (layers.lungs[side] > 0.02)
    hx, hy = layers.hila[side]
    sign = SIGN[side]
    tubes = []
    for angle in np.linspace(-0.9, -0.1, 4) if upper else np.linspace(0.1, 1.1, 4):
        reach = np.linspace(0.02, 0.2, 6)[:, None]
        turn = angle + rng.normal(0, 0.1)
        tubes.append(np.array([hx, hy]) + reach * np.array([sign * np.cos(turn), np.sin(turn)]))
    bronchi = soften(draw_lines(tubes, 0.006), 0.0015)
    patchy = np.clip(1 + 0.1 * noise(rng, 12), 0, 1.2)
    layers.opacify(np.clip((0.72 + 0.2 * severity) * lobe * patchy * (1 - 0.55 * bronchi), 0, 0.97))
    return [_box(lobe)]


def _draw_edema(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """Haze around both hila like a bat's wings, thick vessels, Kerley B lines at the bases."""
    chest, boxes, septa = layers.chest, [], []
    haze = np.zeros((SIZE, SIZE), np.float32)
    for side, (hx, hy) in enumerate(layers.hila):
        sign = SIGN[side]
        wing = blob(hx + sign * 0.055, hy + 0.04, 0.075, 0.105)
        haze += wing * (layers.lungs[side] > 0.02)
        boxes.append(_box(wing * layers.lungs[side]))
        for y in np.linspace(chest.base[side] - 0.17, chest.base[side] - 0.05, 7):
            wall = float(np.interp(y, Y[:, 0], chest.wall(side)[:, 0]))
            x = MIDLINE + sign * np.array([wall - 0.008, wall - 0.05])
            septa.append(np.stack([x, [y, y + rng.uniform(-0.006, 0.002)]], axis=1))
    mottle = np.clip(1 + 0.25 * noise(rng, 40), 0.3, 1.6)
    layers.vessels *= 1.4 + 0.3 * severity
    layers.opacify(np.clip((0.5 + 0.3 * severity) * haze * mottle, 0, 0.92))
    layers.glow += 0.09 * soften(draw_lines(septa, 0.003), 0.001) * (layers.air > 0.2)
    return boxes


def _draw_fibrosis(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """A coarse network at the bases and the periphery of both lungs."""
    chest = layers.chest
    web = np.zeros((SIZE, SIZE), np.float32)
    for cells in (44, 64):
        web = np.maximum(web, np.clip(1 - np.abs(noise(rng, cells)) / 0.28, 0, 1))
    zone = np.zeros((SIZE, SIZE), np.float32)
    for side in (0, 1):
        height = (Y - chest.top) / (chest.base[side] - chest.top)
        rim = edge(0.06 - chest.wall(side) + lateral(side), 0.08) * edge(height - 0.25, 0.3)
        base = edge(height - 0.6 + 0.15 * severity, 0.3)
        zone += np.maximum(base, 0.7 * rim) * layers.lungs[side]
    layers.opacify(np.clip((0.6 + 0.25 * severity) * web * zone + 0.15 * zone, 0, 0.92))
    return [_lung_box(chest, top=0.3)]


def _draw_infiltration(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """Several ill-defined thin patches."""
    patches = np.zeros((SIZE, SIZE), np.float32)
    sides = _sides(rng, 0.6)
    for _ in range(int(rng.integers(4, 8))):
        side = int(rng.choice(sides))
        x, y = _place(layers.chest, side, rng, 0.25, 0.95)
        patch = blob(x, y, rng.uniform(0.03, 0.05), rng.uniform(0.025, 0.05))
        patch *= layers.lungs[side] > 0.02
        patches = np.maximum(patches, patch)
    mottle = np.clip(1 + 0.55 * noise(rng, 56), 0.1, 2)
    layers.opacify(np.clip((0.42 + 0.22 * severity) * patches * mottle, 0, 0.8))
    return [_box(patches * (lateral(side) > 0), 0.5) for side in sides]


def _draw_pneumonia(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """One fuzzy opacity, mostly in the middle or lower zone."""
    side = int(rng.integers(2))
    x, y = _place(layers.chest, side, rng, 0.5, 0.95)
    radius = 0.055 + 0.025 * severity
    cloud = blob(x, y, radius, radius * rng.uniform(0.75, 1.1)) * (layers.lungs[side] > 0.02)
    mottle = np.clip(1 + 0.3 * noise(rng, 36), 0.2, 1.6)
    layers.opacify(np.clip((0.75 + 0.2 * severity) * cloud * mottle, 0, 0.93))
    return [_box(cloud, 0.4)]


def _draw_hernia(layers: Layers, rng: Rng, severity: float) -> list[Box]:
    """The stomach behind the heart: a round shadow with air above a fluid level."""
    chest = layers.chest
    radius = 0.07 + 0.03 * severity
    x, y = MIDLINE + rng.uniform(0.0, 0.05), max(chest.base) - 0.1 - radius
    distance = np.sqrt((X - x) ** 2 + (Y - y) ** 2)
    sac = edge(radius - distance, 0.006)
    level = y + rng.uniform(-0.02, 0.01)
    layers.opacify(0.9 * sac)
    layers.glow -= 0.14 * edge(radius - 0.012 - distance, 0.02) * edge(level - Y, 0.005)
    layers.glow += 0.05 * np.exp(-(((radius - 0.006 - distance) / 0.007) ** 2))
    return [_box(sac)]


_RESHAPE: dict[str, Callable[[Chest, Rng, float], None]] = {
    "Atelectasis": _collapse,
    "Cardiomegaly": _enlarge_heart,
    "Emphysema": _overinflate,
    "Fibrosis": _shrink,
}

_PAINT: dict[str, Callable[[Layers, Rng, float], list[Box]]] = {
    "Atelectasis": _draw_atelectasis,
    "Cardiomegaly": _show_heart,
    "Consolidation": _draw_consolidation,
    "Edema": _draw_edema,
    "Effusion": _draw_effusion,
    "Emphysema": _show_lungs,
    "Fibrosis": _draw_fibrosis,
    "Hernia": _draw_hernia,
    "Infiltration": _draw_infiltration,
    "Mass": _draw_mass,
    "Nodule": _draw_nodules,
    "Pleural_Thickening": _draw_thickening,
    "Pneumonia": _draw_pneumonia,
    "Pneumothorax": _draw_pneumothorax,
}
