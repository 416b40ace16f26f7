"""GRPO with an entropy gate: TRL's `GRPOTrainer` on LoRA adapters, and what the paper needs beside it.

TRL supplies the loop, generation (transformers or vLLM), micro-batches, reward functions, the loss, LoRA through
peft, the optimiser, checkpoints, logging, ranks.  Added here, in the order of a step: the phase's temperature and
budget in sampling and scoring; its rewards and advantages in place of TRL's, which always subtract a mean; entropy
at temperature 1 from the very logits of the loss; the gate's decision, once a step, the same on every rank; records;
exact resume. Training is on-policy: one update for each batch of rollouts.  The vLLM paths are not yet run on a GPU.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from datasets import Dataset, IterableDataset
from peft import LoraConfig, PeftConfig
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput
from trl import GRPOTrainer

from egrc import atomic, resume
from egrc.ended import left_out
from egrc.entropy import TokenClasses, lexical_classes, probe_entropy
from egrc.objective import Objective, Rollouts, Tokens
from egrc.readings import Batch, StepSums, grade, kept_rollouts, text
from egrc.recorder import Recorder
from egrc.resume import STATE_FILE, EpochSampler, last_checkpoint, step_seed
from egrc.scoring import TokenScores, score_completions
from egrc.settings import EGRCConfig, check_classes, check_dataset

Grader = Callable[[str, Any], bool]


class StepCallback(TrainerCallback):
    """The two moments of a step that the trainer's own methods do not see."""

    def __init__(self, trainer: EGRCTrainer) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer._learning_rate_used = self.trainer._get_learning_rate()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer._finish_step()


class EGRCTrainer(GRPOTrainer):
    """Train a policy under an entropy gate; see the module's header.

    >>> trainer = EGRCTrainer("org/model", args=EGRCConfig("out", recipe=recipe), train_dataset=dataset)
    >>> trainer.train()

    `train_dataset` needs the columns `prompt` (text or messages) and `answer`.  `correct(completion, answer)` grades a
    decoded completion (default: math-verify).  `reward_funcs` and `args.reward_weights` are TRL's; their sum is added
    to the phase's reward.  `token_classes` default to the tokens' spelling.  `peft_config=None` means LoRA of rank 16
    on every linear layer but the head.  Other arguments go to `GRPOTrainer`.

    Raises ConfigError or ValueError for a data set that cannot be trained on, FloatingPointError when the loss is not a
    number, OSError when a record cannot be written.
    """

    _tag_names = ["trl", "grpo", "egrc"]
    args: EGRCConfig

    def __init__(
        self,
        model: str | PreTrainedModel,
        args: EGRCConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        reward_funcs: Any = None,
        correct: Grader | None = None,
        token_classes: TokenClasses | None = None,
        probe_prefixes: Sequence[str] | None = None,
        peft_config: PeftConfig | None = None,
        **kwargs: Any,
    ) -> None:
        if args is not None and not isinstance(args, EGRCConfig):
            raise TypeError(f"args is a {type(args).__name__}: use EGRCConfig, which takes the same settings")
        args = EGRCConfig("egrc-output") if args is None else copy.copy(args)
        check_dataset(train_dataset, args)
        extra = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs] if reward_funcs else []
        if args.reward_weights is not None:
            args.reward_weights = [1.0, *args.reward_weights]
        if peft_config is None and not (isinstance(model, torch.nn.Module) and is_peft_model(model)):
            peft_config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")

        self.recipe = copy.deepcopy(args.recipe)  # its objectives have state, which is this run's
        self.gate = self.recipe.new_gate()
        if correct is None:
            from egrc.evaluation.pool import Grader as MathGrader  # worker processes: no completion can hang the run

            correct = MathGrader()
        self.correct = correct
        self.recorder = Recorder(None)
        rewards = [self._reward_function(), *extra]
        super().__init__(model, rewards, args=args, train_dataset=train_dataset, peft_config=peft_config, **kwargs)
        if self._is_vlm:
            raise NotImplementedError("EGRCTrainer scores text only: give a language model and its tokenizer")
        rows = self.model.get_output_embeddings().weight.shape[0]
        self.token_classes = token_classes or lexical_classes(self._tokenizer, size=rows)
        check_classes(self.recipe, self.token_classes)
        self.probe_prefixes = list(probe_prefixes or [])
        if self.accelerator.is_main_process:
            self.recorder = Recorder(args.record_dir)
        self._generated_tokens = 0
        self._clock = time.perf_counter()
        self._learning_rate_used = self._grad_norm = math.nan
        self._kept_entropies: dict[int, list[float]] = {}
        self._reset_sums()
        self.add_callback(StepCallback(self))

    @property
    def phase(self) -> Objective:
        """Whose temperature and budget the rollouts use (a soft gate's heavier one)."""
        return self.recipe.phases[self.gate.index]

    def _blend(self, hook: Callable[[Objective], Tensor]) -> Tensor:
        """Sum over the phases in charge, by the gate's weights (one phase alone unless the gate is soft)."""
        return sum(w * hook(p) for w, p in zip(self.gate.weights, self.recipe.phases, strict=True) if w)

    # 1. rollouts under the phase's temperature and budget -------------------------------------------------

    def _generate_and_score_completions(self, inputs):
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        self._enter(self.phase)
        # seeded by (seed, step, rank), so that a probe, an evaluation or a callback in between changes nothing
        torch.manual_seed(step_seed(self.args.seed, "rollouts", self.state.global_step, self.accelerator.process_index))
        try:
            output = super()._generate_and_score_completions(inputs)
        except RuntimeError as error:  # torch.multinomial's, when an update has blown the weights up
            if "probability tensor" in str(error):
                self._require_finite("a sampling probability", math.nan, error)
            raise
        batch, ids = self._batch, output["completion_ids"].cpu()
        batch.rollouts.classes, batch.rollouts.mask = self.token_classes.ids.cpu()[ids], output["completion_mask"].cpu()
        batch.advantages = self._blend(lambda p: p.advantages(batch.rollouts, p.rewards(batch.rollouts)))
        self._logs["advantages"].extend(batch.advantages.tolist())
        own = self._blend(self._token_advantages)
        output["advantages"] = own.to(output["advantages"].device)
        output["rollout"] = torch.arange(len(inputs))  # TRL shuffles the rows before it splits them
        return output

    def _enter(self, phase: Objective) -> None:
        self.temperature = phase.temperature
        if self.use_vllm:
            self.vllm_generation.temperature = phase.temperature
            self.vllm_generation.max_completion_length = phase.budget
            return
        for name, value in (("temperature", phase.temperature), ("max_new_tokens", phase.budget)):
            setattr(self.generation_config, name, value)
            self.generation_kwargs[name] = value

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        with left_out(self.accelerator.unwrap_model(self.model), self.eos_token_ids):
            return super()._generate_single_turn(*args, **kwargs)

    # 2. rewards and advantages ----------------------------------------------------------------------------

    def _reward_function(self) -> Callable[..., list[float]]:
        def egrc(
            prompts: list, completions: list, completion_ids: list[list[int]], answer: list, **_: Any
        ) -> list[float]:
            """The phase's reward, as TRL's first reward function."""
            texts = [text(completion) for completion in completions]
            ended = [ids[-1] in self.eos_token_ids for ids in completion_ids]
            # A cut completion counts as wrong even if its text would pass: it has not answered.
            graded = [g and e for g, e in zip(grade(self.correct, texts, answer), ended, strict=True)]
            correct, length, ended = self._gather(torch.tensor([graded, list(map(len, completion_ids)), ended]).T).T
            group = self.num_generations if self.model.training else self.num_generations_eval
            first = self.accelerator.process_index * len(texts)
            rollouts = Rollouts(
                *(correct.bool(), length, group),
                rows=slice(first, first + len(texts)),
                class_names=self.token_classes.names,
                gather=self._gather,
            )
            self._batch = Batch(prompts, texts, answer, completion_ids, ended.bool(), rollouts)
            if self.model.training:
                for phase in self.recipe.phases:
                    phase.observe(rollouts)
            return self._blend(lambda p: p.rewards(rollouts))[rollouts.rows].tolist()

        return egrc

    def _gather(self, x: Tensor) -> Tensor:
        """The ranks' tensors [n, ...] together, [N, ...], on the CPU."""
        return self.accelerator.gather(x.contiguous().to(self.accelerator.device)).cpu()

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        batch, weighted = self._batch, (rewards * self.reward_weights.to(rewards.device)).cpu()
        batch.rollouts.extra = weighted[:, 1:].nansum(1)
        batch.rewards = self._blend(lambda p: p.rewards(batch.rollouts))
        return rewards

    def _token_advantages(self, phase: Objective) -> Tensor:
        r = self._batch.rollouts
        return phase.token_advantages(r, phase.advantages(r, phase.rewards(r)))

    # 3. scores of the tokens: log-probabilities for the loss, entropies for the gate ---------------------

    def _get_per_token_logps_and_entropies(
        self,
        model,
        input_ids,
        attention_mask,
        logits_to_keep,
        batch_size=None,
        compute_entropy=False,
        compute_aux_loss=False,
        **multimodal,
    ):
        """As TRL's, with the scores that a step's readings need."""
        unwrapped = self.accelerator.unwrap_model(model)
        base = unwrapped.get_base_model() if is_peft_model(unwrapped) else unwrapped
        given = (model, base, input_ids, attention_mask, logits_to_keep, self.temperature, self.accelerator.autocast)
        entropy_grad = compute_entropy and self._entropy_bonus_enabled
        scores, aux_loss = score_completions(*given, batch_size, entropy_grad, compute_aux_loss)
        if not compute_entropy:
            return scores.logp, None, aux_loss
        self._scores = scores  # compute_entropy: the pass of the loss, with all rows of the micro-batch

        def base_entropy() -> Tensor:
            with torch.no_grad(), unwrapped.disable_adapter():
                return score_completions(*given)[0].entropy_sampling

        logp = self._stop_gradients(scores, base_entropy) if self.model.training else scores.logp
        return logp, scores.entropy_sampling, aux_loss

    def _stop_gradients(self, scores: TokenScores, base_entropy: Callable[[], Tensor]) -> Tensor:
        """Log-probabilities whose gradient stops at the tokens that a phase leaves out of the update, in the phase's
        share of it."""
        logp, (advantages, mask) = scores.logp.detach(), self._pushes
        tokens = Tokens(logp, scores.entropy_sampling.detach(), advantages, mask, base_entropy)
        kept = [phase.keep(tokens) for phase in self.recipe.phases]
        weights = self.gate.weights
        if all(keep is None for keep, w in zip(kept, weights, strict=True) if w):
            return scores.logp
        share = sum(w * (1.0 if keep is None else keep.float()) for keep, w in zip(kept, weights, strict=True) if w)
        return logp + share * (scores.logp - logp)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        self._pushes = inputs["advantages"], inputs["completion_mask"]
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.model.training:
            value = loss.item()
            self._require_finite("the loss", value)
            self._sums.loss += value
            self._observe(inputs)
        return loss

    def _observe(self, inputs: dict[str, Tensor]) -> None:
        """Add one micro-batch to the step's sums; keep its entropies where rollouts are recorded."""
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        self._sums.add(self._scores, inputs["completion_ids"], mask, inputs["advantages"])
        if self._keeps_rollouts():
            for row, entropies in zip(inputs["rollout"].tolist(), self._scores.entropy.cpu(), strict=True):
                self._kept_entropies[row] = entropies.tolist()

    def _reset_sums(self) -> None:
        self._sums = StepSums(self.token_classes, self.accelerator.device)
        self._kept_entropies.clear()

    # 4. after the update: the gate decides, the step is recorded ------------------------------------------

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm)
        self._grad_norm = float(norm)
        if self.accelerator.scaler is None:  # in float16 the scaler skips a step that overflows
            self._require_finite("the gradient's norm", self._grad_norm)
        return norm

    def _require_finite(self, what: str, value: float, cause: Exception | None = None) -> None:
        """Stop before a number that is none reaches the weights or a checkpoint."""
        if not math.isfinite(value):
            raise FloatingPointError(
                f"step {self.state.global_step + 1}: {what} is {value}. Lower learning_rate (now "
                f"{self.args.learning_rate:g}) or max_grad_norm, check the extra reward functions, and resume "
                "from the last checkpoint"
            ) from cause

    def _finish_step(self) -> None:
        """Read the entropy over all ranks, let the gate decide, record."""
        step, phase, weights, batch = self.state.global_step, self.phase, self.gate.weights, self._batch
        reading, numbers = self._sums.row(batch, self._gather)
        decision = self.gate.update(step, reading)
        self._generated_tokens += int(batch.rollouts.length.sum())
        loss = numbers.pop("loss")
        row = {
            "step": step,
            "phase": phase.name,
            "weight_compress": math.fsum(
                w for w, p in zip(weights, self.recipe.phases, strict=True) if p.name == "compress"
            ),
            "temperature": phase.temperature,
            "budget": phase.budget,
            **numbers,
            "entropy_smoothed": decision.smoothed,
            **self._probe(step),
            "loss": loss,
            "grad_norm": self._grad_norm,
            "learning_rate": self._learning_rate_used,
            "generated_tokens": self._generated_tokens,
            "seconds": time.perf_counter() - self._clock,
        }
        self.recorder.step(row, decision)
        given = (self._kept_entropies, self.args.record_rollouts, self.token_classes, self._tokenizer, phase)
        for kept in kept_rollouts(batch, *given):
            self.recorder.rollout(step=step, **kept)
        for name in ("entropy", "entropy_smoothed", "weight_compress", "temperature", "budget", "accuracy"):
            self._metrics["train"][f"egrc/{name}"].append(row[name])
        self._reset_sums()

    def _probe(self, step: int) -> dict[str, float]:
        names = ("mean", *self.token_classes.names)
        values = dict.fromkeys(names, math.nan)
        if self.probe_prefixes and (step == 1 or step % self.args.probe_every == 0):
            values = probe_entropy(self.model, self._tokenizer, self.probe_prefixes, self.token_classes)
        return {"probe_entropy" + ("" if c == "mean" else f"_{c}"): values[c] for c in names}

    def _keeps_rollouts(self) -> bool:
        step = self.state.global_step + 1  # of the update under way
        due = step % self.args.record_rollouts_every == 0 or step in (1, self.state.max_steps)
        return due and self.recorder.folder is not None

    # 5. exact resume ---------------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset=None):
        s = super()._get_train_sampler(dataset)
        given = s.data_source, s.mini_repeat_count, s.batch_size, s.repeat_count, s.shuffle, s.seed
        return EpochSampler(*given, epoch=lambda: self.state.global_step // (s.num_samples // s.batch_size))

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> TrainOutput:
        """As TRL's; `resume_from_checkpoint=True` takes the newest COMPLETE checkpoint of `output_dir`.

        Raises ValueError if there is none, or if the checkpoint is of another recipe.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_checkpoint(self.args.output_dir)
            if resume_from_checkpoint is None:
                raise ValueError(f"no complete checkpoint in {self.args.output_dir}: train without resuming")
        step = self._begin(Path(resume_from_checkpoint) if resume_from_checkpoint else None)
        if 0 < self.args.max_steps <= step:  # nothing is left to do; transformers would take one step too many
            self._load_from_checkpoint(resume_from_checkpoint)
            self.state = TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_NAME))
            result = TrainOutput(step, math.nan, {})
        else:
            result = super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)
        self.recorder.flush()
        return result

    def _begin(self, checkpoint: Path | None) -> int:
        """Set gate, objectives, counters and records to where a fresh run, or the checkpoint's, stands; its step."""
        self.recipe = copy.deepcopy(self.args.recipe)
        self.gate = self.recipe.new_gate()
        fresh = {"step": 0, "generated_tokens": 0, "seconds": 0.0}
        counters = fresh if checkpoint is None else resume.load(checkpoint, self.recipe, self.gate)
        self._generated_tokens = counters["generated_tokens"]
        self._clock = time.perf_counter() - counters["seconds"]
        self.recorder.resume(counters["step"])
        self._reset_sums()
        return counters["step"]

    def _save_checkpoint(self, model, trial):
        folder = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        path = Path(self._get_output_dir(trial=trial)) / folder / STATE_FILE
        if self.accelerator.is_main_process:
            path.unlink(missing_ok=True)  # of an earlier visit: while it is being rewritten it is not complete
        self.recorder.flush()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # every rank has written its part
        if self.accelerator.is_main_process:
            counters = {"step": self.state.global_step, "generated_tokens": self._generated_tokens}
            counters["seconds"] = time.perf_counter() - self._clock
            atomic.write_json(path, resume.state(self.recipe, self.gate, **counters))
