"""A question with radio buttons; on a page without a kernel, the same question with its answer folded away."""

from html import escape
from typing import Any

import ipywidgets as widgets


class Quiz(widgets.VBox):
    """See `rlcore.check.quiz`. `choice.value` is the option chosen, `verdict.value` what was said about it."""

    def __init__(self, question: str, options: list[str], answer: int, why: str) -> None:
        self.question, self.options, self.answer, self.why = question, options, answer, why
        self.choice = widgets.RadioButtons(options=options, index=None, layout={"width": "max-content"})
        self.verdict = widgets.HTML()
        self.choice.observe(self._say, "index")
        super().__init__([widgets.HTML(f"<b>{escape(question)}</b>"), self.choice, self.verdict])

    def _say(self, change: Any) -> None:
        right = change["new"] == self.answer
        head = "Right." if right else f"Not quite: it is “{escape(self.options[self.answer])}”."
        self.verdict.value = f'<div role="status"><b>{head}</b> {escape(self.why)}</div>'

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        listed = "\n".join(f"- {option}" for option in self.options)
        folded = f"<details><summary>Answer</summary>\n\n**{self.options[self.answer]}.** {self.why}\n\n</details>"
        bundle = super()._repr_mimebundle_(**kwargs)
        bundle["text/plain"] = f"{self.question}\n{listed}"
        bundle["text/markdown"] = f"**{self.question}**\n\n{listed}\n\n{folded}"
        return bundle
