"""Charts of the pages: SVG made on the server, in the colours of the style sheet.

No script draws them, and nothing in them is styled in place, so that they show under any Content
Security Policy, follow the theme, and are there on paper. The numbers come along as a table, for
screen readers and for people who want them exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from django.utils import formats
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

Values = Sequence[float | None]

WIDTH: Final = 440
HEIGHT: Final = 170
"""Of the picture's own coordinates: on a page it is as wide as its place."""
LABELS: Final = 6
"""How many labels fit below a chart, about."""
TICKS: Final = 4
"""How many steps its numbers have, at most."""
TONES: Final = ("active", "bad", "due", "warn", "good", "gone")
"""The colours of series, in order, unless they are named: those of badges in `admin.css`."""
_LEFT_OUT: Final = {"defs", "title", "script", "style"}
_OVERLAYS: Final = {"tooltip-overlay", "text-overlay"}
"""What the library adds for its own style and script."""


@dataclass(frozen=True)
class _Chart:
    """What is to be shown; arguments as `columns()`."""

    title: str
    labels: Sequence[str]
    series: Mapping[str, Values]
    unit: str
    tones: Sequence[str]

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            ValueError: if a series has more or fewer numbers than there are labels.
        """
        for name, values in self.series.items():
            if len(values) != len(self.labels):
                raise ValueError(
                    f"The series {name!r} has {len(values)} numbers for {len(self.labels)} labels."
                )

    @property
    def is_empty(self) -> bool:
        """Whether there is no number in it but noughts."""
        return not any(value for values in self.series.values() for value in values)

    def tone(self, index: int) -> str:
        """Return the class that colours a series."""
        return f"operator-tone-{self.tones[index % len(self.tones)]}"

    def ticks(self, *, stacked: bool) -> list[float]:
        """Return the numbers beside the chart: up to the highest that is shown, or a bit more, in
        steps of one, two or five times a power of ten; whole ones if all that is shown is whole.
        """
        shown = [
            [value or 0 for value in column] for column in zip(*self.series.values(), strict=True)
        ]
        add = sum if stacked else max
        top = max(add(column) for column in shown)
        power = 10 ** math.floor(math.log10(top / TICKS))
        step = next(each * power for each in (1, 2, 5, 10) if each * power * TICKS >= top * 0.999)
        if all(value == int(value) for column in shown for value in column):
            step = max(1, step)
        return [round(number * step, 12) for number in range(math.ceil(top / step * 0.999) + 1)]


def columns(
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Values],
    *,
    stacked: bool = False,
    unit: str = "",
    tones: Sequence[str] = TONES,
) -> SafeString:
    """Return a chart of columns as a `<figure>`. No queries.

    Args:
        title: what it shows; its heading, and its name for a screen reader.
        labels: below the columns, one for each.
        series: the numbers of each series by its name, as many as there are labels; None for a gap.
        stacked: whether series stand on each other and not side by side.
        unit: behind each number, as in "12 s".
        tones: the colours of the series, of `TONES`.

    Raises:
        ValueError: if a series has more or fewer numbers than there are labels.
    """
    import pygal

    kind = pygal.StackedBar if stacked else pygal.Bar
    return _figure(_Chart(title, labels, series, unit, tones), kind, stacked=stacked)


def lines(
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Values],
    *,
    unit: str = "",
    tones: Sequence[str] = TONES,
) -> SafeString:
    """Return a chart of lines as a `<figure>`; arguments and errors as `columns()`. No queries."""
    import pygal

    return _figure(_Chart(title, labels, series, unit, tones), pygal.Line)


def number(value: float | None, unit: str = "") -> str:
    """Return a number as it is shown, with at most three digits that count; a dash for none."""
    if value is None:
        return "-"
    digits = 0
    if value and abs(value) < 100:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
    rounded = round(value, digits)
    while digits and rounded == round(rounded, digits - 1):
        digits -= 1
    text = formats.number_format(rounded, digits, use_l10n=True, force_grouping=True)
    return f"{text} {unit}".strip()


def percent(share: float | None) -> str:
    """Return a share from 0 to 1 in percent, as it is shown; a dash for none."""
    return number(None if share is None else 100 * share, "%")


def _figure(chart: _Chart, kind: Any, *, stacked: bool = False) -> SafeString:
    """Return the picture, what its colours mean, and its numbers."""
    if chart.is_empty:
        shown = format_html('<p class="operator-none">{}</p>', gettext("Nothing yet."))
    else:
        shown = _picture(chart, kind, stacked=stacked) + _legend(chart) + _table(chart)
    return format_html(
        '<figure class="operator-chart"><figcaption>{}</figcaption>{}</figure>', chart.title, shown
    )


def _picture(chart: _Chart, kind: Any, *, stacked: bool) -> SafeString:
    ticks = chart.ticks(stacked=stacked)
    picture = kind(
        width=WIDTH,
        height=HEIGHT,
        margin=4,
        margin_right=12,
        explicit_size=False,
        disable_xml_declaration=True,
        js=[],
        css=[],
        show_legend=False,
        show_minor_x_labels=False,
        x_labels_major_every=max(1, math.ceil(len(chart.labels) / LABELS)),
        truncate_label=-1,
        dots_size=2,
        range=(0, ticks[-1]),
        y_labels=ticks,
        value_formatter=lambda value: number(value, chart.unit),
    )
    picture.x_labels = list(chart.labels)
    for name, values in chart.series.items():
        picture.add(name, list(values))
    picture.add_xml_filter(lambda root: _own(root, chart))
    # Every text in it has gone through the library's XML writer, which escapes it.
    return SafeString(picture.render(is_unicode=True))


def _own(root: Element, chart: _Chart) -> Element:
    """Take what the library would style and script out of its picture, and name what is left."""
    for parent in list(root.iter()):
        for each in list(parent):
            is_note = not isinstance(each.tag, str)
            if is_note or each.tag in _LEFT_OUT or _classes(each) & _OVERLAYS:
                parent.remove(each)
    for index, name in enumerate(chart.series):
        for group in root.iter("g"):
            if f"serie-{index}" in _classes(group):
                group.set("class", f"series {chart.tone(index)}")
                _explain(group, name if len(chart.series) > 1 else "")
    for each in root.iter():
        for attribute in ("style", "id"):
            each.attrib.pop(attribute, None)
    root.attrib["class"] = "operator-picture"
    root.set("role", "img")
    root.set("aria-label", chart.title)
    return root


def _explain(group: Element, name: str) -> None:
    """Let each mark of a series say its number where the pointer rests on it: the library leaves
    notes for its own script instead.
    """
    for mark in group.iter("g"):
        notes = {kind: note for note in mark.findall("desc") for kind in _classes(note)}
        if "value" not in notes:
            continue
        label = notes["x_label"].text if "x_label" in notes else ""
        for note in mark.findall("desc"):
            mark.remove(note)
        said = [text for text in (label, name) if text]
        SubElement(mark, "title").text = f"{', '.join(said)}: {notes['value'].text}"


def _classes(element: Element) -> set[str]:
    return set(element.get("class", "").split())


def _legend(chart: _Chart) -> SafeString:
    """Return what the colours mean; nothing if there is only one."""
    if len(chart.series) == 1:
        return SafeString()
    items = format_html_join(
        "",
        '<li><span class="operator-swatch {}"></span>{}</li>',
        ((chart.tone(index), name) for index, name in enumerate(chart.series)),
    )
    return format_html('<ul class="operator-legend">{}</ul>', items)


def _table(chart: _Chart) -> SafeString:
    heads = format_html_join("", '<th scope="col">{}</th>', ([name] for name in chart.series))
    rows = (
        (label, format_html_join("", "<td>{}</td>", ([number(v, chart.unit)] for v in values)))
        for label, *values in zip(chart.labels, *chart.series.values(), strict=True)
    )
    return format_html(
        '<details class="operator-numbers"><summary>{}</summary><div class="operator-scroll" '
        'tabindex="0"><table><caption class="visually-hidden">{}</caption><thead><tr><td></td>{}'
        "</tr></thead><tbody>{}</tbody></table></div></details>",
        gettext("The numbers"),
        chart.title,
        heads,
        format_html_join("", '<tr><th scope="row">{}</th>{}</tr>', rows),
    )
