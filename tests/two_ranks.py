"""Run by test_trainer.py under torchrun: train on two CPU ranks, each writing down what its own gate decided."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import tiny
import torch

folder = Path(sys.argv[1])
torch.set_num_threads(1)
trainer = tiny.trainer(folder, tiny.recipe(dwell=2), gradient_accumulation_steps=1)
decisions, begin = [], trainer._begin


def listening(checkpoint):
    step = begin(checkpoint)
    update = trainer.gate.update

    def logged(*reading):
        decisions.append(update(*reading))
        return decisions[-1]

    trainer.gate.update = logged
    return step


trainer._begin = listening
trainer.train()
rank = trainer.accelerator.process_index
weights = {n: p.double().sum().item() for n, p in trainer.model.named_parameters() if p.requires_grad}
report = {
    "decisions": [asdict(d) for d in decisions],
    "own_tokens": sum(len(ids) for ids in trainer._batch.token_ids),
    "all_tokens": int(trainer._batch.rollouts.length.sum()),
    "own_texts": trainer._batch.texts,
    "weights": weights,
}
(folder / f"rank-{rank}.json").write_text(json.dumps(report))
