"""Merges of the cases, each in a process of its own, so that its time and its memory are its own."""

import json
import multiprocessing
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.merging.cases import AGAIN, BEFORE, Case
from bench.quality import folder
from clora_ext.engine.device import peak_bytes
from clora_ext.hosts.diffusers.merge_cli import merge, merge_parser

ENDING = ".safetensors"
Costs = dict[str, dict[str, Any]]
"""CPU seconds and peak bytes of every merged file, by its stem, and what it was made of."""


class Merges:
    """The merged files in ``out``, of the LoRAs in the folders of ``subject``; none is made twice."""

    def __init__(self, out: Path, subject: folder.Subject) -> None:
        self.out, self.subject = out, subject
        self.told = out / "merges.json"
        self.costs: Costs = json.loads(self.told.read_text(encoding="utf-8")) if self.told.is_file() else {}

    def make(self, case: Case) -> None:
        """Merge what ``case`` draws with, if that is not there yet."""
        if case.row == BEFORE:
            return
        path = self.out / f"{case.file}{ENDING}"
        made_of = self._made_of(case)
        if path.is_file() and self.costs.get(case.file, {}).get("made_of") == made_of:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            cost = pool.apply(merged, (self._arguments(case, path),))
        shutil.copyfile(path, path.with_stem(path.stem + AGAIN))
        self.costs[case.file] = cost | {"made_of": made_of}
        self.told.write_text(json.dumps(self.costs, indent=1) + "\n", encoding="utf-8")

    def cost(self, case: Case) -> dict[str, Any]:
        """Seconds and bytes of its merge; nothing for LoRAs that are not merged."""
        return {name: number for name, number in self.costs.get(case.file, {}).items() if name != "made_of"}

    def _arguments(self, case: Case, path: Path) -> list[str]:
        names = [f"{concept}{case.ending}" for concept in case.concepts]
        folders = [word for one in self.subject.loras for word in ("--lora-dir", str(one))]
        model = ["--checkpoint", str(self.subject.checkpoint), "--tokenizer", str(self.subject.tokenizer)]
        return [*names, "--method", case.row, "--out", str(path), "--overwrite", *folders, *model]

    def _made_of(self, case: Case) -> dict[str, str]:
        hashes = self.subject.lora_hashes()
        return {"code": folder.code()} | {concept: hashes[f"{concept}{case.ending}"] for concept in case.concepts}


def merged(arguments: Sequence[str]) -> dict[str, float]:
    """Merge by the command's ``arguments``; what it cost, the model's loading included."""
    options = merge_parser().parse_args(arguments)
    torch.set_num_threads(1)
    began = time.process_time()
    merge(options)
    return {"seconds": round(time.process_time() - began, 2), "peak_bytes": peak_bytes(torch.device("cpu")) or 0}
