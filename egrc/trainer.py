"""GRPO with an entropy gate: TRL's `GRPOTrainer` on LoRA adapters, and what the paper needs beside it.

Added to TRL, in the order of a step: the phase's temperature and budget in sampling and scoring; its rewards and
advantages in place of TRL's, which always subtract a mean; entropy at temperature 1 from the very logits of the loss;
the gate's decision, once a step, the same on every rank; records; exact resume.  Training is on-policy: one update for
each batch of rollouts.  The vLLM paths are not yet run on a GPU.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.logging import get_logger
from datasets import Dataset
from peft import LoraConfig, PeftConfig, PeftModel
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback
from transformers.trainer_utils import TrainOutput
from trl import GRPOTrainer

from egrc.atomic import write_text
from egrc.checks import grade, require, require_finite
from egrc.controller import Decision, EntropyGate
from egrc.entropy import TokenClasses, lexical_classes, probe_entropy
from egrc.objective import Objective, Rollouts, Tokens
from egrc.recorder import Recorder, StepSums, step_warnings, text
from egrc.resume import STATE_FILE, EpochSampler, finished, last_checkpoint, step_seed
from egrc.scoring import generating, score_completions
from egrc.settings import PLAIN, EGRCConfig, training_data

KEPT = 16  # rollouts that are recorded when it is time
logger = get_logger(__name__)  # of the main process


class EGRCTrainer(GRPOTrainer):
    """Train a policy under an entropy gate; see the module's header.

    `train_dataset` needs the columns `prompt` (text or messages) and `answer`.  `correct(completion, answer)` grades a
    decoded completion (default: math-verify).  `reward_funcs` and `args.reward_weights` are TRL's; their sum is added
    to the phase's reward.  `token_classes` default to the tokens' spelling, `peft_config` to LoRA of rank 16 on
    every linear layer but the head.  Other arguments go to `GRPOTrainer`; a router's auxiliary loss is left out.
    Raises ConfigError for what nobody can train on, FloatingPointError when the loss is not a number, WriteError.
    """

    args: EGRCConfig

    def __init__(
        self,
        model: str | PreTrainedModel,
        args: EGRCConfig | None = None,
        train_dataset: Dataset | list[dict] | None = None,
        reward_funcs: Any = None,
        correct: Callable[[str, Any], bool] | None = None,
        token_classes: TokenClasses | None = None,
        probe_prefixes: Sequence[str] = (),
        peft_config: PeftConfig | None = None,
        **kwargs: Any,
    ) -> None:
        args = EGRCConfig("egrc-output") if args is None else copy.copy(args)
        require(isinstance(args, EGRCConfig), f"args is a {type(args).__name__}: use EGRCConfig instead")
        extra = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs] if reward_funcs else []
        if args.reward_weights is not None:
            args.reward_weights = [1.0, *args.reward_weights]
        if peft_config is None and not isinstance(model, PeftModel):
            peft_config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        given = {"args": args, "train_dataset": training_data(train_dataset, args), "peft_config": peft_config}
        if correct is None:
            from egrc.evaluation.pool import Pool  # worker processes: no completion can hang the run

            correct = Pool()
        self.correct, self.probe_prefixes = correct, probe_prefixes
        super().__init__(model, [self.phase_reward, *extra], **given, **kwargs)
        require(not self._is_vlm, "EGRCTrainer scores text only: give a language model and its tokenizer")
        self.aux_loss_enabled = False
        self._base = self.model.get_base_model()
        size = self.model.get_output_embeddings().weight.shape[0]
        self.token_classes = token_classes or lexical_classes(self._tokenizer, size=size)
        after_update = TrainerCallback()
        after_update.on_step_end = lambda *_, **__: self._finish_step()
        self.add_callback(after_update)
        if bent := {n: getattr(args, n) for n, plain in PLAIN.items() if getattr(args, n) != plain}:
            logger.warning("egrc: rollouts are sampled with %s but scored without: another policy's update", bent)
        self._begin(None)

    @property
    def phase(self) -> Objective:
        """Whose rewards, temperature and budget the step under way uses."""
        return self.gate.objective(self.recipe.phases)

    def _gather(self, x: Tensor) -> Tensor:
        """The ranks' tensors [n, ...] together, [N, ...], on the CPU."""
        return self.accelerator.gather(x.contiguous().to(self.accelerator.device)).cpu()

    # 1. rollouts under the phase's temperature and budget

    def _generate_and_score_completions(self, inputs):
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        phase = self.phase
        self.temperature = phase.temperature
        if self.use_vllm:
            vars(self.vllm_generation).update(temperature=phase.temperature, max_completion_length=phase.budget)
        else:
            limits = {"temperature": phase.temperature, "max_new_tokens": phase.budget}
            self.generation_config.update(**limits)
            self.generation_kwargs.update(limits)
        # seeded by (seed, step, rank), so that a probe, an evaluation or a callback in between changes nothing
        torch.manual_seed(step_seed(self.args.seed, "rollouts", self.state.global_step, self.accelerator.process_index))
        output = super()._generate_and_score_completions(inputs)
        r = self._rollouts
        r.mask = output["completion_mask"].cpu()
        self._rewards = phase.rewards(r)
        self._advantages = phase.advantages(r, self._rewards)
        self._logs["advantages"].extend(self._advantages.tolist())
        output["advantages"] = phase.token_advantages(r, self._advantages).to(output["advantages"].device)
        output["rollout"] = torch.arange(len(inputs))  # TRL shuffles the rows before it splits them
        return output

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        with generating(self.model, self.eos_token_ids):
            return super()._generate_single_turn(*args, **kwargs)

    # 2. their rewards

    def phase_reward(self, prompts, completions, completion_ids, answer, **_: Any) -> list[float]:
        """The phase's reward, as TRL's first reward function."""
        texts = [text(completion) for completion in completions]
        lengths, ended = [len(ids) for ids in completion_ids], [ids[-1] in self.eos_token_ids for ids in completion_ids]
        # a cut completion counts as wrong even if its text would pass: it has not answered
        graded = [g and e for g, e in zip(grade(self.correct, texts, answer), ended, strict=True)]
        correct, length, self._ended = self._gather(torch.tensor([graded, lengths, ended]).T).T
        first = self.accelerator.process_index * len(texts)
        rows = slice(first, first + len(texts))
        size = self.num_generations if self.model.training else self.num_generations_eval
        self._rollouts = r = Rollouts(correct.bool(), length, size, rows=rows, gather=self._gather)
        columns = (map(text, prompts), map(str, answer), texts, completion_ids, graded, lengths)
        names = ("prompt", "answer", "text", "token_ids", "correct", "length")
        self._rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        for phase in self.recipe.phases if self.model.training else ():
            phase.observe(r)
        return self.phase.rewards(r)[r.rows].tolist()

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._rollouts.extra = (rewards * self.reward_weights.to(rewards.device)).cpu()[:, 1:].nansum(1)
        return rewards

    # 3. scores of the tokens: log-probabilities for the loss, entropies for the gate

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **options
    ):
        """As TRL's, with the scores that a step's readings need, and without the gradient of tokens left out."""
        autocast, temperature = self.accelerator.autocast, self.temperature
        given = (model, self._base, input_ids, attention_mask, logits_to_keep, temperature, autocast)
        scores = score_completions(*given, batch_size, compute_entropy and self._entropy_bonus_enabled)
        if not compute_entropy:
            return scores.logp, None, None
        self._scores, logp = scores, scores.logp  # compute_entropy: the pass of the loss, all rows of the micro-batch

        def base_entropy() -> Tensor:
            with torch.no_grad(), self.model.disable_adapter():
                return score_completions(*given).entropy_sampling

        if self.model.training:
            fixed, entropy = logp.detach(), scores.entropy_sampling.detach()
            advantages, mask = self._micro_batch["advantages"], self._micro_batch["completion_mask"]
            tokens = Tokens(fixed, entropy, advantages, mask, base_entropy, self._micro_batch["rollout"])
            if (bonus := self.phase.bonus(tokens)) is not None:
                self._micro_batch["advantages"] = advantages + bonus  # TRL reads them after this
            keep = self.phase.keep(tokens)
            logp = logp if keep is None else fixed + keep * (logp - fixed)
        return logp, scores.entropy_sampling, None

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        self._micro_batch = inputs
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.model.training:
            require_finite(self.state.global_step + 1, "the loss", loss.item())
            self._sums.add(self._scores, inputs, loss.item())
        return loss

    # 4. after the update: the gate decides, the step is recorded

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm)
        self._update = {"grad_norm": float(norm), "learning_rate": self._get_learning_rate()}
        if self.accelerator.scaler is None:  # in float16 the scaler skips a step that overflows
            require_finite(self.state.global_step + 1, "the gradient's norm", float(norm))
        return norm

    def _finish_step(self) -> None:
        """Read the entropy over all ranks, let the gate decide, record."""
        step, phase, args = self.state.global_step, self.phase, self.args
        row = {"step": step, "phase": phase.name, "temperature": phase.temperature, "budget": phase.budget}
        row |= self._sums.numbers(self._rollouts, self._rewards, self._ended.bool())
        decision = self._decide(row)
        row["entropy_smoothed"] = math.nan if decision.smoothed is None else decision.smoothed
        row |= self._update
        if self.probe_prefixes and (step == 1 or step % args.probe_every == 0):
            probe = probe_entropy(self.model, self._tokenizer, self.probe_prefixes, self.token_classes)
            row |= {f"probe_entropy_{name}".removesuffix("_mean"): value for name, value in probe.items()}
        so_far = sum(earlier["generated_tokens"] for earlier in self.recorder.steps[-1:])
        row["generated_tokens"] = so_far + int(self._rollouts.length.sum())
        row["seconds"] = time.perf_counter() - self._clock
        self.recorder.steps.append(row)
        self.recorder.decisions.append(decision)
        due = step % args.record_rollouts_every == 0 or step in (1, self.state.max_steps)
        if due and self.recorder.folder:
            self._keep_rollouts({name: row[name] for name in ("step", "phase", "temperature")})
        for line in step_warnings(decision, row, self._rollouts, self._rewards):
            logger.warning("egrc: %s", line)
        for name in ("entropy", "entropy_smoothed", "temperature", "budget", "accuracy"):
            self._metrics["train"][f"egrc/{name}"].append(row[name])
        self._sums = StepSums(self.token_classes, self.accelerator.device)

    def _keep_rollouts(self, step: dict[str, Any]) -> None:
        """Record some of this rank's rollouts, evenly spread over the problems, with their tokens' entropies."""
        for i in range(0, len(self._rows), max(1, len(self._rows) // KEPT))[:KEPT]:
            ids = self._rows[i]["token_ids"]
            tokens, classes = self._tokenizer.convert_ids_to_tokens(ids), self.token_classes.ids[ids].tolist()
            kept = {"tokens": tokens, "classes": classes, "entropies": self._sums.entropies[i][: len(ids)].tolist()}
            self.recorder.rollouts.append(step | self._rows[i] | kept)

    # 5. exact resume

    def _get_train_sampler(self, dataset=None):
        sampler = super()._get_train_sampler(dataset)
        per_epoch = sampler.num_samples // sampler.batch_size
        return EpochSampler(sampler, epoch=lambda: self.state.global_step // per_epoch)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """As TRL's; True takes the newest COMPLETE checkpoint.  Raises ConfigError for one of another recipe."""
        checkpoint, folder = resume_from_checkpoint or None, self.args.output_dir
        if checkpoint is True:
            checkpoint = last_checkpoint(folder)
            require(checkpoint is not None, f"no complete checkpoint in {folder}: train without resuming")
        self._begin(checkpoint)
        if finished(self, checkpoint):
            result = TrainOutput(self.state.global_step, math.nan, {})
        else:
            result = super().train(resume_from_checkpoint=checkpoint, **kwargs)
        self.recorder.flush()
        return result

    def _begin(self, checkpoint: str | None) -> None:
        """Set objectives, records and the gate to where a fresh run, or the checkpoint's, stands."""
        self.recipe = copy.deepcopy(self.args.recipe)  # its objectives have state, which is this run's
        self.recorder = Recorder(self.args.record_dir if self.accelerator.is_main_process else None)
        self._sums = StepSums(self.token_classes, self.accelerator.device)
        if checkpoint:
            file = Path(checkpoint) / STATE_FILE
            require(file.exists(), f"{checkpoint} is incomplete or not one of this trainer: it has no {STATE_FILE}")
            kept, recipe = json.loads(file.read_text()), json.loads(json.dumps(self.args.recipe.to_dict()))
            require(kept["recipe"] == recipe, f"{checkpoint} is of another recipe: use that one, or start afresh")
            for phase, state in zip(self.recipe.phases, kept["phases"], strict=True):
                phase.load_state_dict(state)
            self.recorder.steps = kept["steps"]
            self.recorder.read_rollouts()
        self.set_gate(self.recipe.gate)
        self._clock = time.perf_counter() - (self.recorder.steps[-1]["seconds"] if self.recorder.steps else 0.0)

    def set_gate(self, gate: EntropyGate) -> None:
        """Go on under this gate, as if it had read the steps so far: its state follows from them."""
        self.recipe = replace(self.recipe, gate=gate)
        self.gate = self.recipe.new_gate()
        self.recorder.decisions = [self._decide(row) for row in self.recorder.steps]

    def _decide(self, row: dict[str, Any]) -> Decision:
        entropy = None if math.isnan(row["entropy"]) else row["entropy"]
        return self.gate.update(row["step"], entropy, row["tokens_mean"])

    def _save_checkpoint(self, model, trial):
        file = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}" / STATE_FILE
        if self.accelerator.is_main_process:
            file.unlink(missing_ok=True)  # of an earlier visit: while it is being rewritten it is not complete
        self.recorder.flush()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # every rank has written its part
        if self.accelerator.is_main_process:
            phases = [phase.state_dict() for phase in self.recipe.phases]
            kept = {"recipe": self.args.recipe.to_dict(), "phases": phases, "steps": self.recorder.steps}
            write_text(file, json.dumps(kept))  # steps may hold NaN; floats survive to the bit
