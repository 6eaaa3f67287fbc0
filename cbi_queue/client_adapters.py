"""Callbacks that let Keras, Lightning, Hugging Face, LightGBM and XGBoost report to cbi-queue and obey it.

Each reports its epochs or rounds, writes a checkpoint when one is due, and ends the script with SystemExit 75 when the
queue wants the machine back. Libraries are imported by the function that needs them; like `client`, this file can be
copied into any folder and runs on Python 3.8.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

from cbi_queue.client import STOPPED, training

if TYPE_CHECKING:
    from collections.abc import Callable


def _checkpoint_or_stop(epoch: int, suffix: str, write: Callable[[str], Any]) -> None:
    """Write a checkpoint when it is due, and end the script when that is wanted."""
    if training.checkpoint_due():
        with training.save(epoch, suffix) as path:
            write(str(path))
    if training.should_stop():
        raise SystemExit(STOPPED)


def _loss(values: Any, *names: str) -> Any:
    return next((values[name] for name in names if name in values), None)


def keras_callback() -> Any:
    """Return a callback for `model.fit`. Checkpoints are whole models; resume with `initial_epoch=resumed_epoch`."""
    base: Any = importlib.import_module("keras").callbacks.Callback

    class Report(base):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs = logs or {}
            training.report(epoch + 1, self.params.get("epochs"), _loss(logs, "loss"), _loss(logs, "val_loss"))
            _checkpoint_or_stop(epoch + 1, ".keras", self.model.save)

    return Report()


def lightning_callback() -> Any:
    """Return a callback for `Trainer(callbacks=[…])`; resume with `fit(…, ckpt_path=training.resume_from())`."""
    base: Any = importlib.import_module("lightning").Callback

    class Report(base):  # type: ignore[misc]
        def on_train_epoch_end(self, trainer: Any, _module: Any) -> None:
            epoch, of, values = trainer.current_epoch + 1, trainer.max_epochs, trainer.callback_metrics
            of = of if of and of > 0 else None
            training.report(epoch, of, _loss(values, "train_loss", "loss"), _loss(values, "val_loss"))
            _checkpoint_or_stop(epoch, ".ckpt", trainer.save_checkpoint)

    return Report()


def transformers_callback() -> Any:
    """Return a `TrainerCallback`. Let `output_dir` be `checkpoint_dir`; `train(resume_from_checkpoint=…)` resumes."""
    base: Any = importlib.import_module("transformers").TrainerCallback

    class Report(base):  # type: ignore[misc]
        def on_epoch_end(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
            logs: Any = next((entry for entry in reversed(state.log_history) if "loss" in entry), {})
            training.report(round(state.epoch), math.ceil(args.num_train_epochs), _loss(logs, "loss"))

        def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
            control.should_save = control.should_save or training.checkpoint_due()
            control.should_training_stop = control.should_training_stop or training.should_stop()

        def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            training.checkpointed(int(state.epoch))

        def on_train_end(self, *_: Any, **__: Any) -> None:
            if training.should_stop():
                raise SystemExit(STOPPED)

    return Report()


def lightgbm_callback() -> Callable[[Any], None]:
    """Return a callback for `lightgbm.train`; resume with `init_model` and so many rounds fewer."""

    def report(env: Any) -> None:
        losses = {entry[0]: entry[2] for entry in env.evaluation_result_list or ()}
        valid = [value for name, value in losses.items() if name != "training"]
        training.report(env.iteration + 1, env.end_iteration, losses.get("training"), valid[0] if valid else None)
        _checkpoint_or_stop(env.iteration + 1, ".txt", env.model.save_model)

    return report


def xgboost_callback(rounds: int | None = None) -> Any:
    """Return a callback for `xgboost.train`; *rounds* are those planned; resume with `xgb_model` and fewer rounds."""
    base: Any = importlib.import_module("xgboost").callback.TrainingCallback

    class Report(base):  # type: ignore[misc]
        def after_iteration(self, model: Any, _epoch: int, evals_log: Any) -> bool:
            last = {name: next(iter(log.values()))[-1] for name, log in evals_log.items()}
            valid = [value for name, value in last.items() if name != "train"]
            done = model.num_boosted_rounds()
            training.report(done, rounds, last.get("train"), valid[0] if valid else None)
            _checkpoint_or_stop(done, ".ubj", model.save_model)
            return False

    return Report()
