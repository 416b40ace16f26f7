"""What makes the notebooks lessons: the picture of the method, predictions with their debriefs, exercises that run."""

from __future__ import annotations

from pathlib import Path

from pictures import legible, texts

from egrc.figures import FIGURES, fig0_method, style

# --- the method in one picture ------------------------------------------------------------------------------------


def test_the_picture_is_legible_and_its_bytes_repeat(tmp_path: Path) -> None:
    assert next(iter(FIGURES)) == "fig0_method"
    files = []
    for part in ("once", "again"):
        figure, drawn = fig0_method.draw()
        assert legible(figure)
        files.append(style.save(figure, drawn, tmp_path / part / "fig0_method"))
    assert all(once.read_bytes() == again.read_bytes() for once, again in zip(*files, strict=True))


def test_what_it_shows_is_what_the_package_computes() -> None:
    figure, drawn = fig0_method.draw()
    phases = drawn.dropna(subset=["entropy"])["phase"]
    assert phases.iloc[0] == "compress" and phases.iloc[-1] == "explore"
    assert phases.ne(phases.shift()).sum() == 2, "one switch, as in the paper's two stages"
    group = drawn.dropna(subset=["reward"]).groupby("phase")
    assert (group.get_group("compress")["advantage"] >= 0).all()
    assert (group.get_group("explore")["advantage"] < 0).sum() == 2
    words = " ".join(text.get_text() for text in texts(figure))
    assert all(word in words for word in ("rollouts", "reward", "advantage", "entropy gate", "compress", "explore"))
