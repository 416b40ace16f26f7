r"""The final answer of a completion as text: where it stands (`extract`), and one spelling for it (`tidy`).

Pure text work, linear in its length; what an answer means is read in `egrc.evaluation.grading`.  A gold answer is
tidied as an answer is.  Text after the last '</think>' counts.  The last box, '#### ...' or <answer> wins, then the
last statement ('the answer is ...', a heading 'Answer'), then the last number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Gold = str | Sequence[str]
"""The accepted answer, or several of which any will do."""
LONGEST = 300
"""Characters; a longer final answer is not compared."""

NUMBER = r"(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)"
_DIGITS = rf"\\?\$?{NUMBER}(?:/\d+)?"
_LAST = re.compile(rf"(?<![\w)])[-+]?{_DIGITS}|(?<![\w.]){_DIGITS}")  # the 3 of '5-3' has no sign
_EMPHASIS = re.compile(r"(?<![\w*)}])(\*{1,3}|__)(?=[^\s*_])([^*\n]{1,400}?)(?<=\S)\1(?![\w*])")
_BARE_BOX = re.compile(
    r"\\boxed\s*(\\[dt]?frac\s*(?:\{[^{}]*\}|\d)\s*(?:\{[^{}]*\}|\d)|\\sqrt\s*(?:\{[^{}]*\}|\d)"
    r"|[-+]?\d+(?:[.,]\d+)*|[A-Za-z]\b)"
)
_BETWEEN_BOXES = re.compile(r"(?=[^\n]*?(?:,|and|or))(?:[^\S\n]|[,;$]|\\[()\[\]]|\band\b|\bor\b){1,40}")
_MARKED = re.compile(rf"####[ \t]*(?=([^\n]{{0,{LONGEST + 1}}}))")
_STATED = re.compile(
    r"\banswers?\b(?:[ \t]+(?:is|are)\b(?:[ \t]*:)?|[ \t]*:)|\b(?:option|choice)[ \t]+is\b:?"
    r"|^[#\t ]*(?:the[ \t]+)?(?:final[ \t]+)?answer[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_LABEL = re.compile(r"^[ \t]*(?:final[ \t]+)?answer[ \t]*:[ \t]*\(?([A-J])\)?[.]?[ \t]*$", re.IGNORECASE | re.MULTILINE)
_FORMULA = re.compile(
    r"\$\$(.{1,1000}?)\$\$|\\\[(.{1,1000}?)\\\]|```[a-z]*\n(.{1,1000}?)```|\\\((.{1,1000}?)\\\)"
    r"|`([^`\n]{1,300})`|\$((?:\\.|[^$\n\\]){1,600})\$(?!\d)",
    re.DOTALL,
)
_BREAK = re.compile(
    r"\.(?:\s|$)|;\s|,\s+(?!and\b|or\b)(?=[a-z]{2,}\b)|\s+(?:because|since|as|so|which|where|when|if|that)\b"
    r"|\s+[-\u2013\u2014]\s+(?=[a-z]{2,})|\u2014"
)
_ADVERB = re.compile(
    r"(?:(?:clearly|simply|just|therefore|thus|then|hence|about|approximately|exactly|indeed|also|only|obviously|option"
    r"|choice)[ \t]+)+(?=[-+\d$\\(A-J.])"
)
_NOT = re.compile(rf"\bnot\s+(?:equal to\s+)?(?:\$|\\\()?[-+]?{_DIGITS}")
_EMPTY = re.compile(
    r"(?:not|easy|hard|simple|clear|obvious|consistent|correct|incorrect|wrong|right|found|given|therefore|thus|then"
    r"|known|unknown|reasonable|plausible|unique|what|that|this|it|here|below|above|simply|just|indeed|also|still)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Grade:
    """The verdict on one completion."""

    correct: bool
    extracted: str | None
    """The final answer as it was found; None where there is none."""
    reason: str
    """In words: 'equal', 'not equal' (or 'not equal as texts', where one was not read whole), 'no answer', 'truncated',
    'too long', 'too costly', 'time limit', 'out of memory' or 'crashed'."""


def extract(text: str) -> str | None:
    """The final answer stated in a completion, tidied only at its edges, or None."""
    if "</think>" in text:
        text = text.rpartition("</think>")[2]
    elif "<think>" in text:
        return None
    text = re.sub(r"\\\\(?=boxed|[dt]?frac|sqrt|text|pi\b)", r"\\", text)
    text = re.sub(r"\\f(?:rame)?box\b", r"\\boxed", text)
    text = _EMPHASIS.sub(r"\2", text)
    text = _EMPHASIS.sub(r"\2", text)
    marked = [*(boxed := _boxed(text))]
    marked += [(m.start(), m[1]) for m in _MARKED.finditer(text)]
    if "<answer>" in (tagged := text.rpartition("</answer>")[0]):
        marked.append((tagged.rindex("<answer>"), tagged.rpartition("<answer>")[2]))
    marked.sort()
    labels = [(m.start(1), m[1]) for m in _LABEL.finditer(text)]
    if labels and marked and labels[-1][0] > marked[-1][0]:
        marked.append(labels[-1])
    boxes = {start for start, _ in boxed}
    for start, answer in reversed(marked):
        if start not in boxes:
            stated = list(_STATED.finditer(answer))
            answer = _stated(answer[stated[-1].end() :]) if stated else _leading(answer, marked=True)
        if answer := _bare(answer):
            return answer
    for match in reversed(list(_STATED.finditer(text))):
        if answer := _bare(_stated(text[match.end() : match.end() + 1200])):
            return answer
    numbers = _LAST.findall(_NOT.sub("", text))
    return _bare(numbers[-1]) if numbers else None


def _boxed(text: str) -> list[tuple[int, str]]:
    r"""(position, content) of every `\boxed{...}` whose braces close; boxes with only commas between are one list."""
    boxes: list[tuple[int, int, str]] = []
    starts: list[tuple[int, int, int]] = []
    depth = 0
    for m in re.finditer(r"\\boxed\s*\{|\\.|[{}]", text, re.DOTALL):
        if m[0] == "}":
            depth -= 1
            if starts and starts[-1][0] == depth:
                _, outer, start = starts.pop()
                boxes.append((outer, m.end(), text[start : m.start()]))
        elif m[0].endswith("{") and m[0] != r"\{":
            if m[0] != "{":
                starts.append((depth, m.start(), m.end()))
            depth += 1
    boxes += [(m.start(), m.end(), m[1]) for m in _BARE_BOX.finditer(text)]
    joined: list[tuple[int, int, str]] = []
    for start, end, content in sorted(boxes):
        between = text[joined[-1][1] : start] if joined else ""
        if joined and start >= joined[-1][1] and _BETWEEN_BOXES.fullmatch(between):
            joined[-1] = (joined[-1][0], end, f"{joined[-1][2]}, {content}")
        else:
            joined.append((start, end, content))
    return [(start, content) for start, _, content in joined]


def _stated(tail: str) -> str:
    """The value with which the text behind a statement begins; of the next line where its own is empty; or ''."""
    tail = _ADVERB.sub("", tail.lstrip(" \t:"))
    if not tail.split("\n", 1)[0].strip():
        tail = tail.lstrip()
    if match := _FORMULA.match(tail):
        rest = tail[match.end() :].split("\n", 1)[0]
        items = [_inside(match)]
        while more := re.match(r"\s*(?:,|and\b|or\b|, and\b)\s*", rest):
            following = _FORMULA.match(rest[more.end() :])
            if not following:
                break
            items.append(_inside(following))
            rest = rest[more.end() + following.end() :]
        prose = re.search(r"(?<![\\{a-zA-Z])(?:because|and then|which|since|plus)\b", items[0])
        if not prose and not re.match(r"\s*(?:[=+<>]|\\approx|-\s*\$)", rest):
            return ", ".join(items)
    return _leading(tail.split("\n", 1)[0][: LONGEST + 1])


def _inside(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None).strip()


def _leading(line: str, marked: bool = False) -> str:
    """The value that a line begins with, without the rest of its sentence; '' where it is prose without a value."""
    line = line.strip()
    if marked and (match := _FORMULA.match(line)):
        return _inside(match)
    if depth := [m.start() for m in _BREAK.finditer(line) if _level(line[: m.start()])]:
        line = line[: depth[0]]
    words = re.findall(r"[A-Za-z]+", re.sub(r"\\[A-Za-z]+", "", line)) if re.match(r"[A-Za-z]{2}", line) else []
    prose = len(words) > 3 and "=" not in line and not re.search(r"\\|\^", line)
    line = re.sub(r"\s+(?:and|or|but)$", "", line)
    number = re.match(rf"([-+]?{_DIGITS})\s+and\s+(?=[a-z]{{2,}})", line)
    if number:
        return number[1]
    if not marked and words and (_EMPTY.match(line) or prose):
        return ""
    return line


def _level(text: str) -> bool:
    return text.count("(") <= text.count(")") and text.count("{") <= text.count("}")


def _bare(answer: str) -> str:
    """Without spaces, a closing full stop, dollar signs and backticks around it; cut where too long."""
    bare = answer.strip()[: LONGEST + 1].strip().rstrip(".").strip().strip("`").strip()
    while len(bare) > 1 and (
        (bare[0] == bare[-1] == "$") or (bare.startswith((r"\(", r"\[")) and bare.endswith((r"\)", r"\]")))
    ):
        bare = (bare[2:-2] if bare[0] == "\\" else bare[1:-1]).strip().rstrip(".")
    if bare.count("$") - bare.count(r"\$") == 1 and bare.endswith("$") and not bare.endswith(r"\$"):
        bare = bare[:-1]
    return bare.removeprefix("$").strip()


# --- one spelling -------------------------------------------------------------------------------------------------

_SUPER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUB = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SIGNS = {
    **{"∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "±": r"\pm "},
    **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ", "°": r"^\circ ", "∅": r"\emptyset "},
    **{"\u2212": "-", "\u2013": "-", "′": "'", "″": "''", "’": "'", "≈": r"\approx ", "∈": r"\in ", "ℝ": r"\mathbb{R}"},
    **{"α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "θ": r"\theta ", "λ": r"\lambda ", "μ": r"\mu "},
    **{"ω": r"\omega ", "φ": r"\phi ", "€": "", "£": "", "¥": "", "…": r"\ldots ", "⌊": r"\lfloor ", "⌋": r"\rfloor "},
    **{"≡": r"\equiv ", "∠": r"\angle ", "△": r"\triangle ", "⟨": r"\langle ", "⟩": r"\rangle ", "\u00a0": " "},
}
_UNITS = (
    r"(?:mm|cm|dm|km|nm|m|kg|mg|g|s|ms|min|h|hr|ft|in|yd|mi|mph|kph|ml|mL|L|l|N|J|kJ|W|kW|V|A|K|C|F|Hz|kHz|Pa|eV|mol"
    r"|rad|deg|sq)"
)
_NOT_UNIT = r"(?!\s*(?:pi|dozen|hundred|thousand|[mb]illion|trillion|and|or|for|if|a\.?m|p\.?m|base|mod|sqrt|times)\b)"


_LAYOUT = re.compile(
    r"\\(?:mathbf|boldsymbol|bm|pmb|textbf|mathit|mathsf|textit|underline|emph|color\s*\{\w*\})\s*"
    r"\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}"
)
_COMMANDS: tuple[tuple[str, Any], ...] = (
    (r"\\(?:mathrm|text)\s*\{([a-zA-Z]|-?[\d.,]+)\}", r"\1"),
    (r"\\(?:displaystyle|textstyle|limits|left|right|bigl?|bigr|Bigl?|Bigr|biggl?|biggr)(?![a-zA-Z])\.?", ""),
    (r"(?<!\\)\\[!;,:> ]|~|\\q?quad\b|\\space\b", " "),
    (r"\{\s*([,:.]|\\cdot)\s*\}", r"\1"),
    (r"\\[dtc](frac|binom)\b", r"\\\1"),
    (r"\\(?:varnothing|empty)(?![a-zA-Z])", r"\\emptyset "),
    (r"\\(?:mid|vert)(?![a-zA-Z])", "|"),
    (r"\\(le|ge|ne)(?:qslant|qq?)(?![a-zA-Z])", r"\\\1 "),
    (r"\\([lr])brace\b", lambda m: r"\{" if m[1] == "l" else r"\}"),
    (r"\\(sin|cos|tan)\s*\(?\s*(\d+)\s*\^\s*\{?\s*\\circ\s*\}?\s*\)?", r"\\\1(\\frac{\2\\pi}{180})"),
    (r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?", ""),
    (r"\^\s*\{?\s*((?:\\prime\s*)+)\}?", lambda m: "'" * m[1].count("prime")),
    (r"(?:\\sqrt|(?<![a-zA-Z\\])sqrt|√)\s*\(([^()]*)\)", r"\\sqrt{\1}"),
    (r"√\s*(\d+|[a-zA-Z])", r"\\sqrt{\1}"),
    (r"\\sqrt\s*(\[[^\[\]]*\])?\s*([0-9a-zA-Z])", r"\\sqrt\1{\2}"),
    (r"(?<![a-zA-Z\\])pi(?![a-zA-Z])", r"\\pi "),
    (r"(?<![a-zA-Z\\])inf(?:inity|ty)?(?![a-zA-Z])", r"\\infty "),
    (r"(?<![\w.])(-?\d+(?:\.\d+)?)[eE]([-+]?\d+)(?![\w.])", r"\1 \\times 10^{\2}"),
    (r"\*\*", "^"),
    (r"^(-?\d+)\s+(\d+)/(\d+)$", r"\1\\frac{\2}{\3}"),
    (r"\\\$|(?<!\\)\$|\\(?=\s*$)", ""),
    (r"\\(?:text|mbox|textrm|mathrm)\s*\{\s*(?:,?\s*(?:and|or))\s*\}", ", "),
    (r",?\s+(?:and|or)\s+", ", "),
    (r"^\\(?:text|mbox|textrm|mathrm)\s*\{[^{}]*\b(?:is|are|be|:)\s*:?\s*\}\s*(?=\S)", ""),
)
_TIDY = tuple((re.compile(pattern), by) for pattern, by in _COMMANDS)
_TRAILING_UNIT = re.compile(
    rf"(?<=[\d)}}%])\s*(?:\\?%|\\(?:text|mathrm|textrm|mbox|operatorname)\s*\{{{_NOT_UNIT}[^{{}}]*\}}"
    rf"(?:\s*\^\s*\{{?-?\d\}}?)?|\s{_NOT_UNIT}\s*[a-zA-Z]{{2,}}\.?(?:\s+[a-zA-Z]+\.?)*(?:\s+\([^()]*\))?"
    rf"|\s*\([a-z ]+\)|\s+\([^()]*[a-z]{{2,}}[^()]*\)"
    rf"|\s+{_UNITS}(?:/{_UNITS})?(?:\s*\^\s*\{{?-?\d\}}?)?)\s*$"
)


def tidy(answer: str) -> str:
    """An answer or a gold one in one spelling: no layout, no Unicode signs, no emphasis, no full stop at its end."""
    text = _bare(re.sub(r"^####\s*|(?<!\w)\*\*(.+?)\*\*", r"\1", answer.strip()))
    if boxed := re.fullmatch(r"\\boxed\s*\{(.*)\}", text, re.DOTALL):
        text = boxed[1]
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: f"^{{{m[0].translate(_SUPER)}}}", text)
    text = re.sub(r"[₀₁₂₃₄₅₆₇₈₉]+", lambda m: f"_{{{m[0].translate(_SUB)}}}", text)
    text = re.sub(r"[¼-¾⅐-⅞]", _vulgar, text)
    text = "".join(_SIGNS.get(c, c) for c in text)
    for _ in range(3):  # one in another
        text = _LAYOUT.sub(r"\1", text)
    for pattern, by in _TIDY:
        text = pattern.sub(by, text)
    return text.strip()


def _vulgar(match: re.Match[str]) -> str:
    above, below = unicodedata.normalize("NFKC", match[0]).split("\u2044")
    return rf"\frac{{{above}}}{{{below or 10}}}"


def without_unit(text: str) -> str:
    """A tidied answer without what stands behind its number: '20 cm^2' is 20, but '5 million' and '5 x' are not 5."""
    for _ in range(3):
        shorter = _TRAILING_UNIT.sub("", text)
        if shorter == text or not re.search(r"\d", shorter):
            break
        text = shorter.strip()
    return text


def unit(text: str) -> str:
    """The unit of measurement of a tidied answer, such as cm; '' without one."""
    behind = key(text[len(without_unit(text)) :])
    return behind if re.fullmatch(rf"{_UNITS}(?:\^-?\d)?", behind) else ""


def key(text: str) -> str:
    """A tidied answer for comparison as a whole text: no spaces, no braces around one sign, words in small letters."""
    text = re.sub(r"\\(?:text|mbox|textrm|mathrm|operatorname)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"([_^])\s*\{\s*([^{}\s])\s*\}", r"\1\2", text)
    text = re.sub(r"\b([ap])\.?\s*m\b\.?", r"\1m", text, flags=re.IGNORECASE)
    text = re.sub(r"\s+", "", text).rstrip(".")
    return text.casefold() if re.search(r"[A-Za-z]{2}", text) and "\\" not in text else text
