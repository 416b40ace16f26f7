"""GRPO with an entropy gate: TRL's `GRPOTrainer` on LoRA adapters, and what the paper needs beside it.

TRL supplies: the loop, generation (transformers or vLLM), scoring in micro-batches, reward functions, the
loss, LoRA through peft, optimiser and schedule, checkpoints, logging, distributed training.

Added here:
 1. Rewards: correctness, length clipping and shaping of the gate's phase, as the first reward function; those
    of the user are added to it.
 2. Advantages of the phase replace TRL's, which always subtract a mean.  They may differ from token to token, and a
    phase may leave tokens out of the update, by their entropy or probability.
 3. Temperature of the phase in sampling AND in scoring (TRL fixes the latter at the start), and its length
    budget. The vLLM backends are given both as well; that path is not yet run on a GPU.
 4. Entropy at T=1 from the very logits that the loss is computed from, reduced over ranks by tokens: every
    rank's gate reads the same number and takes the same decision, once a step.
 5. Exact resume after a kill: the order of problems is drawn from (seed, epoch), gate and records go with the
    checkpoint, and a checkpoint cut short by the kill is passed over. A step's rollouts are seeded by (seed,
    step, rank), so that a probe, an evaluation or a callback in between does not change them.
 6. Records: steps, decisions, rollouts (`egrc.recorder`), and readings on fixed probe prefixes.
 7. Speed: no work for rows that have ended (`egrc.ended`), which is most of a batch.

Training is on-policy: one update for each batch of rollouts.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import is_peft_model
from datasets import Dataset, IterableDataset
from peft import LoraConfig, PeftConfig
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Sampler
from transformers import PreTrainedModel, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput
from trl import GRPOTrainer
from trl.kernels.chunked_logprob import ChunkedLogProbFunction
from trl.trainer.utils import RepeatSampler, add_fused_lm_head

from egrc import atomic
from egrc.advantage import phase_advantages, step_brevity, step_lengths, step_moments
from egrc.config import ConfigError, Phase, Recipe
from egrc.controller import EntropyGate
from egrc.ended import by_length, left_out
from egrc.entropy import TokenClasses, TokenScores, class_sums, lexical_classes, probe_entropy, score_tokens
from egrc.methods.history import History
from egrc.methods.peers import entropy_floor, kl_cov
from egrc.recorder import Recorder
from egrc.reward import budgets, in_time, reliable, shaped_reward
from egrc.settings import EGRCConfig

PLAIN_LOGITS = 2**28
"""Logits (rollouts x tokens x vocabulary) up to which they are scored in one piece, 1 GB in float32.  Beyond, TRL's
fused head scores them in tiles: 16,000 tokens on a vocabulary of 150,000 would otherwise take 10 GB a copy."""
STEP_OPENER = "operator"
"""The class of tokens at which a step of thought begins: a computation.  [ours]"""
HEAD_OUTPUTS = ("log_probs", "entropy", "log_sum_sq_probs")
STATE_FILE = "egrc_state.json"
"""Written last into a checkpoint's folder: a checkpoint without it was cut short."""

Grader = Callable[[str, Any], bool]


def math_correct(completion: str, answer: Any) -> bool:
    """Default grader, by math-verify (`egrc.evaluation.grading`); of a GSM8K reference what follows '####' counts."""
    from egrc.evaluation.grading import correct, extract  # imports sympy: only where it is used

    gold = str(answer)
    return correct(completion, (extract(gold) or gold) if "####" in gold else gold)


def last_checkpoint(output_dir: str | Path) -> str | None:
    """The newest complete checkpoint in a trainer's output folder; None without one."""
    found = (p.parent for p in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*/{STATE_FILE}"))
    newest = max(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)
    return None if newest is None else str(newest)


class EpochSampler(RepeatSampler):
    """TRL's sampler, its order drawn from (seed, epoch) alone: a resumed run sees the same problems."""

    def __init__(self, *args: Any, epoch: Callable[[], int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        if self.shuffle:
            self.generator.manual_seed(_seed(self.seed, "epoch", self.epoch()))
        yield from super().__iter__()


def _seed(*parts: Any) -> int:
    """A 63-bit seed that mixes its parts: neighbouring steps and ranks share nothing."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass
class _Batch:
    """The rollouts of one step: texts of this rank, tensors of all ranks (groups are neighbours)."""

    prompts: list[Any]
    texts: list[str]
    answers: list[Any]
    token_ids: list[list[int]]
    correct: Tensor
    length: Tensor
    terminated: Tensor
    reward: Tensor = field(init=False)
    advantage: Tensor = field(init=False)


class _StepCallback(TrainerCallback):
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

    `train_dataset` needs the columns `prompt` (text or messages) and `answer`.  `correct(completion, answer)`
    grades a decoded completion (default: math-verify).  `reward_funcs` and `args.reward_weights` are TRL's;
    their sum is added to our reward.  `token_classes` default to the tokens' spelling.  `peft_config=None`
    means LoRA of rank 16 on every linear layer but the head.  Other arguments go to `GRPOTrainer`.

    Raises ConfigError or ValueError for a data set that cannot be trained on, FloatingPointError when the
    loss is not a number, OSError when a record cannot be written.
    """

    _tag_names = ["trl", "grpo", "egrc"]
    args: EGRCConfig
    _batch: _Batch
    _scores: TokenScores
    _pushes: tuple[Tensor, Tensor]
    """Advantages and mask of the micro-batch under way, both [B, T]."""
    _extra_rewards: Tensor
    _head_temperature: float | None = None

    def __init__(
        self,
        model: str | PreTrainedModel,
        args: EGRCConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        reward_funcs: Any = None,
        correct: Grader = math_correct,
        token_classes: TokenClasses | None = None,
        probe_prefixes: Sequence[str] | None = None,
        peft_config: PeftConfig | None = None,
        **kwargs: Any,
    ) -> None:
        if args is not None and not isinstance(args, EGRCConfig):
            raise TypeError(f"args is a {type(args).__name__}: use EGRCConfig, which takes the same settings")
        args = EGRCConfig("egrc-output") if args is None else copy.copy(args)
        _check_dataset(train_dataset, args)
        extra = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs] if reward_funcs else []
        if args.reward_weights is not None:
            args.reward_weights = [1.0, *args.reward_weights]
        if peft_config is None and not (isinstance(model, torch.nn.Module) and is_peft_model(model)):
            peft_config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")

        self.gate = EntropyGate(Recipe.from_dict(args.recipe))
        self.history = History()
        self.correct = correct
        self.recorder = Recorder(None)
        super().__init__(
            model,
            reward_funcs=[self._reward_function(), *extra],
            args=args,
            train_dataset=train_dataset,
            peft_config=peft_config,
            **kwargs,
        )
        if self._is_vlm:
            raise NotImplementedError("EGRCTrainer scores text only: give a language model and its tokenizer")
        rows = self.model.get_output_embeddings().weight.shape[0]
        self.token_classes = token_classes or lexical_classes(self._tokenizer, size=rows)
        _check_classes(self.gate.recipe, self.token_classes)
        self.probe_prefixes = list(probe_prefixes or [])
        if self.accelerator.is_main_process:
            self.recorder = Recorder(args.record_dir)
        self._generated_tokens = 0
        self._clock = time.perf_counter()
        self._learning_rate_used = self._grad_norm = math.nan
        self._kept_entropies: dict[int, list[float]] = {}
        self._reset_sums()
        self.add_callback(_StepCallback(self))

    # 1. rewards ---------------------------------------------------------------------------------------

    def _reward_function(self) -> Callable[..., list[float]]:
        def egrc(
            prompts: list, completions: list, completion_ids: list[list[int]], answer: list, **_: Any
        ) -> list[float]:
            texts = [_text(completion) for completion in completions]
            graded = [bool(self.correct(text, a)) for text, a in zip(texts, answer, strict=True)]
            ended = [ids[-1] in self.eos_token_ids for ids in completion_ids]
            # A cut completion counts as wrong even if its text would pass: it has not answered.
            facts = torch.tensor(
                [[g and e for g, e in zip(graded, ended, strict=True)], list(map(len, completion_ids)), ended]
            ).T.contiguous()
            everyone = self.accelerator.gather(facts.to(self.accelerator.device)).cpu()
            batch = self._batch = _Batch(prompts, texts, answer, completion_ids, *_columns(everyone))
            if self.model.training:
                self.history.update(batch.correct, batch.length, self.num_generations)
            return self._blend(self._shaped_reward)[self._own(len(texts))].tolist()

        return egrc

    def _own(self, n: int) -> slice:
        """Where this rank's n rollouts are among those of all."""
        return slice(self.accelerator.process_index * n, (self.accelerator.process_index + 1) * n)

    def _shaped_reward(self, phase: Phase) -> Tensor:
        batch = self._batch
        group = self.num_generations if self.model.training else self.num_generations_eval
        return shaped_reward(batch.correct, batch.length, batch.terminated, phase, group, self.history)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        weighted = (rewards * self.reward_weights.to(rewards.device)).cpu()
        self._extra_rewards = weighted[:, 1:].nansum(1)
        return rewards

    def _blend(self, of_phase: Callable[[Phase], Tensor]) -> Tensor:
        """Sum over the phases in charge, by the gate's weights (one phase alone unless the gate is soft)."""
        pairs = zip(self.gate.weights, self.gate.recipe.phases, strict=True)
        return sum(w * of_phase(phase) for w, phase in pairs if w)

    # 2. advantages, 3. temperature and budget ---------------------------------------------------------

    def _generate_and_score_completions(self, inputs):
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        self._enter_phase(self.gate.phase)
        step, rank = self.state.global_step, self.accelerator.process_index
        torch.manual_seed(_seed(self.args.seed, "rollouts", step, rank))
        try:
            output = super()._generate_and_score_completions(inputs)
        except RuntimeError as error:  # torch.multinomial's, when an update has blown the weights up
            if "probability tensor" in str(error):
                self._require_finite("a sampling probability", math.nan, error)
            raise
        batch = self._batch
        batch.reward = self._blend(self._phase_reward)
        batch.advantage = self._blend(self._phase_advantage)
        self._logs["advantages"].extend(batch.advantage.tolist())
        own = self._blend(lambda phase: self._token_advantage(phase, output))
        output["advantages"] = own.to(output["advantages"].device)
        output["rollout"] = torch.arange(len(inputs))  # TRL shuffles the rows before it splits them
        return output

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        with left_out(self.accelerator.unwrap_model(self.model), self.eos_token_ids):
            return super()._generate_single_turn(*args, **kwargs)

    def _phase_reward(self, phase: Phase) -> Tensor:
        return self._shaped_reward(phase) + self._extra_rewards

    def _in_time(self, phase: Phase) -> tuple[Tensor, int | Tensor]:
        """Who is correct within the phase's budget, and that budget."""
        facts = self._batch.correct, self._batch.length, self._batch.terminated
        budget = budgets(*facts, phase, self.num_generations)
        return in_time(*facts, budget), budget

    def _phase_advantage(self, phase: Phase) -> Tensor:
        good, _ = self._in_time(phase)
        return phase_advantages(phase, good, self._phase_reward(phase), self._batch.length, self.num_generations)

    def _token_advantage(self, phase: Phase, output: dict[str, Tensor]) -> Tensor:
        """This rank's advantages as TRL's loss takes them: [n], or [n, T] in a phase whose tokens differ."""
        ids, mask = output["completion_ids"].cpu(), output["completion_mask"].cpu()
        own, (good, budget) = self._own(len(ids)), self._in_time(phase)
        found = self._phase_advantage(phase)[own]
        if any(p.cut or p.advantage == "steps" for p in self.gate.recipe.phases):
            found = found.unsqueeze(1).expand(ids.shape)
        if phase.advantage == "steps":
            counts = good if phase.reliable is None else good & reliable(good, phase.reliable, self.num_generations)
            found = found + phase.length_weight * self._step_brevity(ids, mask, counts)
        if isinstance(budget, Tensor):
            found = found * (torch.arange(ids.shape[1]) < budget[own].unsqueeze(1))
        return found

    def _step_brevity(self, ids: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
        """[n, T]: how brief the step of each token is, among those of its group's rollouts that count, on all ranks."""
        own, group = self._own(len(ids)), self.num_generations
        opens = self.token_classes.ids.cpu()[ids] == self.token_classes.names.index(STEP_OPENER)
        lengths, counted = step_lengths(opens, mask)
        moments = self.accelerator.gather(step_moments(lengths, counted).to(self.accelerator.device)).cpu()
        moments = (moments * counts.unsqueeze(1)).view(-1, group, 3).sum(1).repeat_interleave(group, 0)
        return step_brevity(lengths, counted, counts[own], moments[own])

    def _enter_phase(self, phase: Phase) -> None:
        self.temperature = phase.temperature
        if self.use_vllm:  # not yet run on a GPU
            self.vllm_generation.temperature = phase.temperature
            self.vllm_generation.max_completion_length = phase.budget
            return
        for name, value in (("temperature", phase.temperature), ("max_new_tokens", phase.budget)):
            setattr(self.generation_config, name, value)
            self.generation_kwargs[name] = value

    # 4. entropy ---------------------------------------------------------------------------------------

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
        """As TRL's, with the scores that a step's readings need; from plain logits while these are few."""
        logps, entropies, aux_losses = [], [], []
        size = batch_size or len(input_ids)
        router = {"output_router_logits": True} if compute_aux_loss else {}
        vocabulary = self.model.get_output_embeddings().weight.shape[0]
        for start in range(0, len(input_ids), size):
            ids, mask = input_ids[start : start + size], attention_mask[start : start + size]
            plain = len(ids) * logits_to_keep * vocabulary <= PLAIN_LOGITS
            score = self._score_plain if plain else self._score_fused
            if plain and not compute_aux_loss:
                score = partial(self._score_trimmed, score)
            batch = {"input_ids": ids, "attention_mask": mask, "use_cache": False, **router}
            entropy_grad = compute_entropy and self._entropy_bonus_enabled
            scores, output = score(model, batch, logits_to_keep, entropy_grad)
            if compute_entropy:  # the pass of the loss, always in one piece
                self._scores = scores
                entropies.append(scores.entropy_sampling)
                again = partial(score, model, batch, logits_to_keep, entropy_grad=False)
                logps.append(self._stop_gradients(scores, again))
            else:
                logps.append(scores.logp)
            if compute_aux_loss:
                aux_losses.append(output.aux_loss)
        return (
            torch.cat(logps),
            torch.cat(entropies) if entropies else None,
            torch.stack(aux_losses).mean() if aux_losses else None,
        )

    def _stop_gradients(self, scores: TokenScores, score_again: Callable[[], tuple]) -> Tensor:
        """Log-probabilities whose gradient stops at the tokens that the phase leaves out of the update."""
        phase, logp = self.gate.phase, scores.logp.detach()
        if phase.tokens is None or phase.tokens_at is None or not self.model.training:
            return scores.logp
        advantage, mask = self._pushes
        if phase.tokens == "kl_cov":
            keep = kl_cov(logp, advantage, mask, phase.tokens_at)
        else:
            with torch.no_grad(), self.accelerator.unwrap_model(self.model).disable_adapter():
                base = score_again()[0].entropy_sampling
            keep = entropy_floor(logp, advantage, scores.entropy_sampling.detach(), phase.tokens_at * base)
        return torch.where(keep, scores.logp, logp)

    def _score_trimmed(self, score, model, batch, keep, entropy_grad):
        """Rows of similar length together, each piece as far as its longest; 0 from there on."""
        prompt = batch["input_ids"].shape[1] - keep
        lengths = batch["attention_mask"][:, prompt:].sum(1)
        pieces = by_length(lengths)
        found = []
        for rows in pieces:
            longest = max(1, int(lengths[rows].max()))
            own = {k: v[rows, : prompt + longest] if isinstance(v, Tensor) else v for k, v in batch.items()}
            scores, output = score(model, own, longest, entropy_grad)
            found.append([pad(x, (0, keep - longest)) for x in vars(scores).values()])
        back = torch.cat(pieces).argsort()
        return TokenScores(*(torch.cat(columns)[back] for columns in zip(*found, strict=True))), output

    def _score_plain(self, model, batch, keep, entropy_grad):
        with self.accelerator.autocast():
            output = model(**batch, logits_to_keep=keep + 1)
        tokens = batch["input_ids"][:, -keep:]
        return score_tokens(output.logits[:, -keep - 1 : -1], tokens, self.temperature, entropy_grad), output

    def _score_fused(self, model, batch, keep, entropy_grad):
        """The same scores by TRL's fused head, which never holds all logits.  Not yet run on a GPU."""
        base = self.model.get_base_model()
        if self._head_temperature != self.temperature:  # the head is made for one temperature
            vars(base).pop("forward", None)
            add_fused_lm_head(base, self.temperature, self.args.cast_lm_head_to_fp32, HEAD_OUTPUTS)
            self._head_temperature = self.temperature
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        labels[:, :-keep] = -100
        hidden = []
        hook = base.base_model.register_forward_hook(lambda _, __, out: hidden.append(out.last_hidden_state.detach()))
        try:
            with self.accelerator.autocast():
                output = model(**batch, labels=labels, fused_lm_head=True)
                logp, sampling, log_sum_sq = (getattr(output, name)[:, -keep:] for name in HEAD_OUTPUTS)
                plain = sampling if self.temperature == 1 else self._entropy_at_one(hidden[0][:, -keep - 1 : -1])
        finally:
            hook.remove()
        with torch.no_grad():
            gradient = (1 - 2 * logp.exp() + log_sum_sq.exp()).clamp(min=0).sqrt() / self.temperature
        plain = plain.detach() * (labels[:, -keep:] != -100)
        return TokenScores(logp, plain, sampling if entropy_grad else sampling.detach(), gradient), output

    @torch.no_grad()
    def _entropy_at_one(self, hidden: Tensor) -> Tensor:
        """Nats at temperature 1, from the last hidden states [B, T, H]."""
        head = self.model.get_output_embeddings()
        flat, width = hidden.reshape(-1, hidden.shape[-1]), head.weight.shape[0]
        target = flat.new_zeros(len(flat), dtype=torch.long)  # no token's probability is asked for
        tile = min(width, 32768)
        found = ChunkedLogProbFunction.apply(flat, head.weight, head.bias, target, 1.0, tile, None, 1.0, ("entropy",))
        return found[1].view(hidden.shape[:2])

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        advantages, mask = inputs["advantages"], inputs["completion_mask"]
        self._pushes = (advantages if advantages.dim() == 2 else advantages.unsqueeze(1).expand(mask.shape)), mask
        loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if self.model.training:
            value = loss.item()
            self._require_finite("the loss", value)
            self._loss += value
            self._observe(inputs)
        return loss

    @torch.no_grad()
    def _observe(self, inputs: dict[str, Tensor]) -> None:
        """Add one micro-batch to the step's sums: tokens, entropies and pulls, class by class."""
        scores, tokens, mask = self._scores, inputs["completion_ids"], inputs["completion_mask"]
        if "tool_mask" in inputs:
            mask = mask * inputs["tool_mask"]
        pull = self._pushes[0].abs() * scores.gradient
        values = torch.stack([torch.ones_like(scores.entropy), scores.entropy, scores.entropy_sampling, pull])
        self._sums += class_sums(values, tokens, mask, self.token_classes)
        if self._keeps_rollouts():
            for row, entropies in zip(inputs["rollout"].tolist(), scores.entropy.cpu(), strict=True):
                self._kept_entropies[row] = entropies.tolist()

    def _reset_sums(self) -> None:
        shape = (4, len(self.token_classes.names))
        self._sums = torch.zeros(shape, dtype=torch.float64, device=self.accelerator.device)
        self._loss = 0.0
        self._kept_entropies.clear()

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
        """After the update: read the entropy over all ranks, let the gate decide, record."""
        local = torch.cat([self._sums.flatten(), self._sums.new_tensor([self._loss])])
        everyone = self.accelerator.gather(local).view(-1, len(local)).cpu()  # summed in one order on every rank
        sums, loss = everyone[:, :-1].sum(0).view_as(self._sums), everyone[:, -1].mean().item()
        tokens, entropy, entropy_sampling, _ = (sums.sum(1) / sums[0].sum()).tolist()
        step, phase, weights, batch = self.state.global_step, self.gate.phase, self.gate.weights, self._batch
        names, count = self.token_classes.names, sums[0].sum().item()
        shares = dict(zip(names, (sums[0] / count).tolist(), strict=True))
        reading = _mean(batch.length) if self.gate.gate.signal == "length" else entropy
        decision = self.gate.update(step, reading, shares.get("connector"))
        self._generated_tokens += int(batch.length.sum())
        n = len(batch.length)
        by_class = (sums / sums[0]).tolist()
        row = {
            "step": step,
            "phase": phase.name,
            "weight_compress": _weight_of_compress(self.gate.recipe, weights),
            "temperature": phase.temperature,
            "budget": phase.budget,
            "accuracy": _mean(batch.correct),
            "reward": _mean(batch.reward),
            "advantage_positive_share": _mean(batch.advantage > 0),
            "tokens_mean": _mean(batch.length),
            "tokens_correct_mean": _mean(batch.length[batch.correct]),
            "truncated": _mean(~batch.terminated),
            "entropy": entropy,
            "entropy_smoothed": decision.smoothed,
            "entropy_sampling": entropy_sampling,
            "entropy_total": entropy * count / n,
            "connectors_mean": dict(zip(names, (sums[0] / n).tolist(), strict=True)).get("connector", math.nan),
            **{f"entropy_{c}": v for c, v in zip(names, by_class[1], strict=True)},
            **{f"share_{c}": v for c, v in shares.items()},
            **{f"gradient_{c}": v for c, v in zip(names, by_class[3], strict=True)},
            **self._probe(step),
            "loss": loss,
            "grad_norm": self._grad_norm,
            "learning_rate": self._learning_rate_used,
            "generated_tokens": self._generated_tokens,
            "seconds": self._elapsed(),
        }
        self.recorder.step(row, decision)
        self._record_rollouts(step, phase)
        for name in ("entropy", "entropy_smoothed", "weight_compress", "temperature", "budget", "accuracy"):
            self._metrics["train"][f"egrc/{name}"].append(row[name])
        self._reset_sums()

    def _probe(self, step: int) -> dict[str, float]:
        names = ("mean", *self.token_classes.names)
        values = dict.fromkeys(names, math.nan)
        if self.probe_prefixes and (step == 1 or step % self.args.probe_every == 0):
            values = probe_entropy(self.model, self._tokenizer, self.probe_prefixes, self.token_classes)
        return {"probe_entropy" + ("" if c == "mean" else f"_{c}"): values[c] for c in names}

    # 5. exact resume ----------------------------------------------------------------------------------

    def _get_train_sampler(self, dataset=None):
        plain: Sampler = super()._get_train_sampler(dataset)
        return EpochSampler(
            plain.data_source,
            plain.mini_repeat_count,
            plain.batch_size,
            plain.repeat_count,
            plain.shuffle,
            plain.seed,
            epoch=lambda: self.state.global_step // (plain.num_samples // plain.batch_size),
        )

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
        """Set gate, counters and records to where a fresh run, or the checkpoint's, stands; returns its step."""
        recipe = self.gate.recipe
        fresh: dict[str, Any] = {
            "step": 0,
            "gate": EntropyGate(recipe).state_dict(),
            "history": History().state_dict(),
            "generated_tokens": 0,
            "seconds": 0.0,
        }
        state = fresh if checkpoint is None else self._read_state(checkpoint)
        self.gate.load_state_dict(state["gate"])
        self.history.load_state_dict(state["history"])
        self._generated_tokens = state["generated_tokens"]
        self._clock = time.perf_counter() - state["seconds"]
        self.recorder.resume(state["step"])
        self._reset_sums()
        return state["step"]

    def _read_state(self, checkpoint: Path) -> dict[str, Any]:
        path = checkpoint / STATE_FILE
        if not path.exists():
            raise ValueError(f"{checkpoint} is incomplete or not a checkpoint of this trainer: it has no {STATE_FILE}")
        state = json.loads(path.read_text())
        if state["recipe"] != json.loads(json.dumps(self.args.recipe)):
            raise ValueError(f"{checkpoint} was trained with another recipe: use that one, or start afresh")
        return state

    def _save_checkpoint(self, model, trial):
        path = (
            Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}" / STATE_FILE
        )
        if self.accelerator.is_main_process:
            path.unlink(missing_ok=True)  # of an earlier visit: while it is being rewritten it is not complete
        self.recorder.flush()
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # every rank has written its part
        if self.accelerator.is_main_process:
            state = {
                "step": self.state.global_step,
                "recipe": self.args.recipe,
                "gate": self.gate.state_dict(),
                "history": self.history.state_dict(),
                "generated_tokens": self._generated_tokens,
                "seconds": self._elapsed(),
            }
            atomic.write_json(path, state)

    def _elapsed(self) -> float:
        return time.perf_counter() - self._clock

    # 6. records ---------------------------------------------------------------------------------------

    def _keeps_rollouts(self) -> bool:
        step = self.state.global_step + 1  # of the update under way
        due = step % self.args.record_rollouts_every == 0 or step in (1, self.state.max_steps)
        return due and self.recorder.folder is not None

    def _record_rollouts(self, step: int, phase: Phase) -> None:
        """Keep `record_rollouts` rollouts of this rank, evenly spread over the problems."""
        batch, classes = self._batch, self.token_classes.ids
        stride = max(1, len(batch.texts) // max(1, self.args.record_rollouts))
        for row in sorted(self._kept_entropies)[::stride][: self.args.record_rollouts]:
            ids = batch.token_ids[row]
            self.recorder.rollout(
                step=step,
                prompt=_text(batch.prompts[row]),
                answer=str(batch.answers[row]),
                text=batch.texts[row],
                tokens=self._tokenizer.convert_ids_to_tokens(ids),
                token_ids=ids,
                entropies=self._kept_entropies[row][: len(ids)],
                classes=classes[torch.tensor(ids)].tolist(),
                correct=bool(batch.correct[row]),
                length=len(ids),
                phase=phase.name,
                temperature=phase.temperature,
            )


def _columns(facts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """correct bool [N], length int [N], terminated bool [N] from one int tensor [N, 3]."""
    correct, length, terminated = facts.unbind(1)
    return correct.bool(), length, terminated.bool()


def _text(message: Any) -> str:
    """The text of a prompt or completion: itself, or the last message's content."""
    return message if isinstance(message, str) else str(message[-1]["content"])


def _mean(x: Tensor) -> float:
    """NaN for no elements."""
    return x.double().mean().item()


def _weight_of_compress(recipe: Recipe, weights: Sequence[float]) -> float:
    return math.fsum(w for w, phase in zip(weights, recipe.phases, strict=True) if phase.name == "compress")


def _check_classes(recipe: Recipe, classes: TokenClasses) -> None:
    needed = {STEP_OPENER: any(phase.advantage == "steps" for phase in recipe.phases)}
    needed["connector"] = recipe.gate.guard is not None
    missing = [name for name, asked in needed.items() if asked and name not in classes.names]
    if missing:
        raise ConfigError(f"the recipe needs the token classes {missing}, but there are only {classes.names}")


def _check_dataset(dataset: Dataset | IterableDataset | None, args: EGRCConfig) -> None:
    if dataset is None:
        raise ConfigError("train_dataset=None: give a datasets.Dataset with the columns 'prompt' and 'answer'")
    per_step = args.generation_batch_size // args.num_generations
    if isinstance(dataset, Dataset) and len(dataset) < per_step:
        raise ConfigError(
            f"{len(dataset)} training problems, but a step takes {per_step}: add problems, or lower "
            "per_device_train_batch_size x gradient_accumulation_steps"
        )
    names = dataset.column_names  # None for a stream that does not know them yet
    missing = [] if names is None else [c for c in ("prompt", "answer") if c not in names]
    if missing:
        raise ConfigError(
            f"the training data have no column {' and '.join(map(repr, missing))} (they have {names}): "
            "rename theirs with dataset.rename_column(old, new)"
        )
