"""On whom a run's figures were measured."""

from cxrflow.pipeline.reports.dashboard.run_folder import RunFolder
from cxrflow.schema.text import visible


def is_official(run: RunFolder) -> bool:
    """Whether test is made of the data's own test_list.txt."""
    mode = run.ingest.get("split", "auto")
    listed = (run.data_dir / "test_list.txt").is_file()
    return bool(mode == "official" or (mode == "auto" and listed))


def about(run: RunFolder, split: str, images: int, patients: int | None = None) -> str:
    """Which patients a split of this run holds, in words."""
    official = is_official(run)
    if split == "test" and official:
        whose = "patients of its official test_list.txt"
    elif split == "test":
        whose = f"patients drawn by a hash of their id ({run.ingest['test_share']:.0%} of all)"
    else:
        rest = "not in the official test list" if official else "not in test"
        whose = f"{run.ingest['eval_share']:.0%} of the patients {rest}, by a hash of their id"
    of = f" of {patients:,} patients" if patients is not None else ""
    return f"{images:,} X-rays{of} in {visible(run.data_dir.name)}: {whose}"
