"""The command line with the fake engine, for the commands of the documentation: it knows every class that they name."""

from dataclasses import replace
from typing import Any

from fakes import FakeEngines

from gradcam_cli import cli
from gradcam_cli.engines.work import Work
from gradcam_cli.models.request import ModelRequest
from gradcam_cli.settings import EngineSettings


class PageEngines(FakeEngines):
    def open(self, request: ModelRequest, choice: EngineSettings, work: Work) -> Any:
        names = tuple(str(index) for index, _ in enumerate(work.targets.classes))
        return super().open(request, choice, replace(work, targets=replace(work.targets, classes=names)))


if __name__ == "__main__":
    cli.main(PageEngines())
